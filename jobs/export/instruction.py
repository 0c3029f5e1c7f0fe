"""What to tell an editor to do, in words: made of what was changed into what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Formatter

import pyarrow as pa

from jobs.export.values import Value

CHANGED, ADDED = "turn the {from} into {to}", "add {to}"
"""The words where it is known what was there before, and where it isn't."""

WORDS = ("from", "to", "original_prompt", "edited_prompt")
"""What a template may have in braces."""

_DETERMINED = re.compile(r"(an?|the|some|no|one|two|three|many|its|his|her|their|my|your)\s", re.IGNORECASE)

_BEFORE = r"(\ban?\s+(?:(?!(?:in|on|of|with|and|at|by|under|over|near|to|from|is)\b)\w+\s+){0,3})?"
"""An article with at most three adjectives between it and its noun."""


def placeholders(template: str) -> set[str]:
    """The words in braces.

    Raises:
        ValueError: there are others than :data:`WORDS`, or none.
    """
    found = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    if not found or not found <= set(WORDS):
        raise ValueError(f"an instruction needs one of {', '.join(f'{{{word}}}' for word in WORDS)}, and no others")
    return found


@dataclass(frozen=True)
class Instruction(Value):
    """A template, filled in row by row; null where one of its words is.

    ``{from}`` loses its article. ``{to}`` gets one, as in ``a square`` and ``an owl``, unless it has a determiner of
    its own, or the row's edited prompt mentions it without one, as in ``a field in snow``.
    """

    template: str
    words: tuple[tuple[str, Value], ...]
    """What stands for the words in braces, and the edited prompt where there is one."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of all words."""
        return tuple(dict.fromkeys(name for _, value in self.words for name in value.needs))

    def of(self, rows: pa.RecordBatch) -> pa.Array:
        """The instructions."""
        columns = {word: value.of(rows).to_pylist() for word, value in self.words}
        told = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return pa.array([self._filled(row) for row in told], pa.string())

    def _filled(self, row: dict[str, str | None]) -> str | None:
        if any(row[word] is None for word in placeholders(self.template)):
            return None
        told = {word: text or "" for word, text in row.items()}
        told["from"] = re.sub(r"^(an?|the)\s+", "", told.get("from", ""), flags=re.IGNORECASE)
        told["to"] = with_article(told.get("to", ""), told.get("edited_prompt", ""))
        return self.template.format(**told)


def with_article(word: str, prompt: str) -> str:
    """A word with ``a`` or ``an``, unless it has a determiner of its own, or a prompt mentions it without one."""
    if not word or _DETERMINED.match(word):
        return word
    found = re.search(rf"{_BEFORE}(?<!\w){re.escape(word)}(?!\w)", prompt, re.IGNORECASE)
    if found and not found[1]:
        return word
    return f"{'an' if word[0].lower() in 'aeiou' else 'a'} {word}"
