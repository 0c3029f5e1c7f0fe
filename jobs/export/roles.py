"""Where in a sink the parts of an example are: found from what its steps read and write, the likeliest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from jobs.export.finishing import finished
from jobs.export.instruction import ADDED, CHANGED, Instruction, placeholders
from jobs.export.steps import Steps
from jobs.export.values import Branched, Held, Said, Value, optional
from operators import Caption, Column, Condition, Edit, Generate, Instruct, Pipeline
from operators.controls.pictured import NetworkSpec
from operators.edit.concepts import labels, word_of

Found = Iterator[Value]
Find = Callable[[Steps], Found]


def named(*columns: str) -> Find:
    """Columns of the sink with one of these names."""

    def find(steps: Steps) -> Found:
        yield from (Held(name) for name in columns if name in steps.schema.names)

    return find


def constant(value: str | int) -> Find:
    """The same in every row."""
    return lambda _: iter([Said(value)])


def original_picture(steps: Steps) -> Found:
    """The picture that the last edit has changed, blurred if it was."""
    for edit in _edits(steps):
        source = f"{edit.output}_source"
        yield Held(finished(source if source in edit.writes() else edit.image, steps.all))


def edited_picture(steps: Steps) -> Found:
    """The picture that the last edit has made, as later steps have blurred and marked it."""
    yield from (Held(finished(edit.output, steps.all)) for edit in _edits(steps))


def mask(steps: Steps) -> Found:
    """Where the last edit may have changed the picture: what it found, or was given."""
    for edit in _edits(steps):
        found = f"{edit.output}_mask"
        names = [found] if found in edit.writes() else [edit.mask_column]
        yield from (Held(name) for name in names if name is not None)


def original_text(steps: Steps) -> Found:
    """What the picture showed before the last edit."""
    for edit in _edits(steps):
        if edit.needs_prompt:
            yield from _given(optional(edit.prompt))
        yield from _captions_of(steps, edit.image)


def edited_text(steps: Steps) -> Found:
    """What the picture shows after the last edit: what the network was told to show, or a caption of it."""
    for edit in _edits(steps):
        if not isinstance(edit, Instruct):
            yield Held(f"{edit.output}_prompt")
        yield from _captions_of(steps, edit.output)


def instruction(template: str | None) -> Find:
    """What the last edit was to do: told by a column, or made of what it changed into what.

    Args:
        template: what to make it of; with one, no column is looked for.
    """
    return partial(_instructions, template)


def picture(steps: Steps) -> Found:
    """The picture that the last step made or described, blurred and marked as it was."""
    for shown, text in _pairs(steps):
        marked = Held(finished(shown.column, steps.all))
        if _there(marked, steps) and _there(text, steps):
            yield marked


def text(steps: Steps) -> Found:
    """What that picture shows, or was told to show."""
    yield from (text for shown, text in _pairs(steps) if _there(shown, steps) and _there(text, steps))


def condition(steps: Steps) -> Found:
    """The picture that the shown one follows: of the last step that drew such, or was steered by one."""
    yield from (Held(step.output) for step in steps.backwards if isinstance(step, Condition))
    for step in steps.backwards:
        controls = step.controls if isinstance(step, Generate | Edit) else ()
        yield from (Held(control.image) for control in controls if isinstance(control, NetworkSpec))


def turn(steps: Steps) -> Found:
    """How many edits the edited picture has behind it, from 1."""
    edits = {edit.output: edit for edit in _edits(steps)}
    edit, count = next(iter(edits.values()), None), 0
    while edit is not None:
        edit, count = edits.get(edit.image), count + 1
    yield Said(max(count, 1))


def score(name: str) -> Find:
    """A score that a step ``score`` has given, whatever stands before its name."""

    def find(steps: Steps) -> Found:
        prefixes = [str(step.options.get("prefix") or "") for step in reversed(steps.all) if step.kind == "score"]
        yield from (Held(f"{prefix}{name}") for prefix in [*prefixes, ""])

    return find


def first(finds: Sequence[Find], steps: Steps) -> Value | None:
    """The likeliest of what is really there."""
    return next((value for find in finds for value in find(steps) if _there(value, steps)), None)


def _edits(steps: Steps) -> Iterator[Edit]:
    return (step for step in steps.backwards if isinstance(step, Edit))


def _there(value: Value, steps: Steps) -> bool:
    return all(name in steps.schema.names for name in value.needs)


def _given(value: Value | None) -> Found:
    if value is not None:
        yield value


def _captions_of(steps: Steps, column: str) -> Found:
    captions = (step for step in steps.backwards if isinstance(step, Caption))
    yield from (Held(caption.output) for caption in captions if caption.image == column)


def _instructions(template: str | None, steps: Steps) -> Found:
    if template is None:
        yield from named("edit_prompt", "instruction")(steps)
    for edit in _edits(steps):
        if isinstance(edit, Instruct) and template is None:
            yield Held(f"{edit.output}_prompt")
        words = {
            "from": _source_word(edit),
            "to": _target_word(edit, steps.name_of(edit)),
            "original_prompt": first([original_text], steps),
            "edited_prompt": first([edited_text], steps),
        }
        known = {word: value for word, value in words.items() if value is not None}
        tried = [template] if template else [CHANGED, ADDED]
        for each in tried:
            needed = placeholders(each)
            if needed <= known.keys():
                used = [word for word in known if word in needed or (word == "edited_prompt" and "to" in needed)]
                yield Instruction(each, tuple((word, known[word]) for word in used))


def _source_word(edit: Edit) -> Value | None:
    given = edit.from_
    return optional(given if given is None or isinstance(given, Column) else word_of(given))


def _target_word(edit: Edit, step: str) -> Value | None:
    if isinstance(edit.to, tuple):
        return Branched(step, dict(zip(labels(edit.to), map(word_of, edit.to), strict=True)))
    return optional(edit.to if edit.to is None or isinstance(edit.to, Column) else word_of(edit.to))


def _pairs(steps: Steps) -> Iterator[tuple[Held, Value]]:
    """Pictures with their texts, the last step's first."""
    for step in steps.backwards:
        match step:
            case Caption():
                yield Held(step.image), Held(step.output)
            case Edit():
                yield from ((Held(step.output), text) for text in edited_text(steps))
            case Generate():
                yield Held(step.output), _either(step.prompt)
            case Pipeline():
                prompt = step.arguments.get("prompt")
                if isinstance(prompt, str | Column):
                    yield Held(step.column), _either(prompt)
    yield from ((Held("image"), Held(name)) for name in ("text", "caption", "prompt"))


def _either(prompt: str | Column) -> Value:
    return Held(prompt.column) if isinstance(prompt, Column) else Said(prompt)
