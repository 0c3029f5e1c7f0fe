"""What tells people of a dataset: a card as the Hugging Face hub shows it, with the metadata that it reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

from jobs.export.croissant import about, description
from jobs.export.facts import Facts, Model
from jobs.export.features import data_type, yaml_features
from jobs.export.marking import marking
from jobs.export.options import Layout
from jobs.export.steps import Step
from jobs.export.writing import WRITINGS
from operators.models.ref import Origin

_MAKERS = frozenset(["generate", "edit", "pipeline"])
_SHOWN = 6
"""Options of a step that are named: those that say the most come first."""

_PRIVATE = ("certificate", "key_file", "key_variable")
"""Options that tell where a signer keeps its keys: of no use to others."""

_LENGTH = 60
"""Characters of a value that are shown."""

_SIZES = {
    10**3: "n<1K",
    10**4: "1K<n<10K",
    10**5: "10K<n<100K",
    10**6: "100K<n<1M",
    10**7: "1M<n<10M",
    10**8: "10M<n<100M",
    10**9: "100M<n<1B",
}
_BUILT_IN, _OTHERS = "part of Latentmill, Apache-2.0", "as the model's own card says"
_LARGEST = "n>1B"


def card(known: Facts) -> str:
    """The card of a dataset: ``README.md``."""
    front = yaml.safe_dump(front_matter(known), sort_keys=False, allow_unicode=True, width=120)
    sections = [
        f"# {known.name}",
        f"{description(known)} Columns as `{known.options.preset}` has them.",
        _section("Columns", _columns(known)),
        _section("How it was made", _pipeline(known)),
        _section("Rows", _counts(known)),
        _section("Marks", marking(known.steps)),
        _section("Licences", _licences(known)),
        _section("From a row to its source", _tracing(known)),
        _section("Examples", _examples(known)),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def front_matter(known: Facts) -> dict[str, Any]:
    """What the hub reads of a card: licence, tasks, size, files of each split, features."""
    licence = {"license": known.options.license} if known.options.license else {}
    tasks = {"task_categories": [*known.columns.tasks]} if known.columns.tasks else {}
    pattern = WRITINGS[known.options.format].pattern
    files = [{"split": split, "path": pattern.format(split)} for split in known.rows]
    return {
        "pretty_name": known.name,
        **licence,
        **tasks,
        "size_categories": [_size(sum(known.rows.values()))],
        "tags": _tags(known),
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": _info(known),
    }


def _info(known: Facts) -> dict[str, Any]:
    splits = []
    for split, rows in known.rows.items():
        memory = sum(written.memory for shard, written in known.written.items() if shard.split == split)
        splits.append({"name": split, "num_bytes": memory, "num_examples": rows})
    # Samples of a shard have columns by the endings of their files, which the loader finds by itself.
    features = {} if known.options.format is Layout.WEBDATASET else {"features": yaml_features(known.schema)}
    return {
        **features,
        "splits": splits,
        "download_size": sum(written.size for written in known.written.values()),
        "dataset_size": sum(split["num_bytes"] for split in splits),
    }


def _tags(known: Facts) -> list[str]:
    made = ["synthetic"] if any(step.kind in _MAKERS for step in known.steps) else []
    edited = ["image-editing"] if any(step.kind == "edit" for step in known.steps) else []
    layout = {Layout.WEBDATASET: ["webdataset"], Layout.IMAGEFOLDER: ["imagefolder"]}.get(known.options.format, [])
    return ["latentmill", *made, *edited, *layout]


def _size(rows: int) -> str:
    return next((name for limit, name in _SIZES.items() if rows < limit), _LARGEST)


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _columns(known: Facts) -> str:
    rows = [(f"`{f.name}`", data_type(f).removeprefix("sc:"), about(known, f.name)) for f in known.schema]
    made = [name for name in known.schema.names if name in ("edit_prompt", "instruction")]
    told = [_told_instruction(known, name) for name in made]
    return "\n\n".join([_table(("column", "type", "holds"), rows), *filter(None, told)])


def _told_instruction(known: Facts, name: str) -> str:
    template = getattr(known.values[name], "template", None)
    return f"`{name}` was made by a template: `{template}`." if template else ""


def _pipeline(known: Facts) -> str:
    rows = [
        (str(at), f"`{step.name}`", _options(step), "<br>".join(_model(model) for model in known.models(step)) or "-")
        for at, step in enumerate(known.steps, 1)
    ]
    versions = ", ".join(f"{name} {told}" for name, told in known.record.get("packages", {}).items() if told)
    made = f"Job seed {known.record['job']['seed']}, plan `{known.record['fingerprint']}`. Made with {versions}."
    steps = _table(("", "step", "options", "models"), rows) if rows else "There were no steps."
    whole = json.dumps([{step.kind: _public(step.options)} for step in known.steps], indent=1, ensure_ascii=False)
    details = f"<details><summary>Every option</summary>\n\n```json\n{whole}\n```\n\n</details>"
    return "\n\n".join([steps, made, *([details] if rows else [])])


def _options(step: Step) -> str:
    given = step.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True) if step.spec else step.options
    method = {"method": step.options["method"]} if "method" in step.options else {}
    told = [f"{key}: {_short(value)}" for key, value in _public(method | given).items() if key != "model"]
    return _cell(", ".join([*told[:_SHOWN], *["..."] * (len(told) > _SHOWN)]) or "as usual")


def _public(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in _PRIVATE}


def _model(model: Model) -> str:
    name = f"`{model.name}`"
    if model.origin is Origin.HUB:
        place = model.name.partition("@")[0]
        name = f"[{name}](https://huggingface.co/{place}{f'/tree/{model.revision}' if model.revision else ''})"
    told = f", revision `{model.revision}`" if model.revision else ", no revision noted"
    return (
        name
        + told * (model.origin is Origin.HUB)
        + (f", SHA-256 `{model.digest}`" if model.digest else ", no digest noted")
    )


def _counts(known: Facts) -> str:
    figures = [("source rows", known.source_rows), ("rows of the job", known.accepted)]
    figures += [("source rows of which a filter left nothing", known.filtered)]
    figures += [(f"rejected: `{code}`", count) for code, count in sorted(known.rejected.items())]
    figures += [(f"rows here, `{split}`", count) for split, count in known.rows.items()]
    return _table(("", "rows"), [(name, f"{count:,}") for name, count in figures])


def _licences(known: Facts) -> str:
    lines = [f"- this dataset: {known.options.license or 'none was named; name one before you publish it'}"]
    lines += [f"- the source: {known.options.source_license or 'none was named; what it allows goes for its pictures'}"]
    models = dict.fromkeys(model for step in known.steps for model in known.models(step))
    lines += [f"- `{model.name}`: {_BUILT_IN if model.origin is Origin.BUILTIN else _OTHERS}" for model in models]
    return "\n".join(lines)


def _tracing(known: Facts) -> str:
    if not known.of_lineage:
        return "The columns that lead back to the source were left out."
    held = ", ".join(f"`{name}`" for name in known.of_lineage)
    return "\n\n".join(
        [
            f"Each row has {held}. The source is `{known.source}`, and the rows were taken from `{known.sink}`, where\n"
            "`_latentmill/runs` has the full record of the run. With access to it,",
            f"```sh\nlatentmill lineage {known.sink} ROW_ID\nlatentmill replay {known.sink} ROW_ID\n```",
            "tell where a row comes from, and make it again.",
        ]
    )


def _examples(known: Facts) -> str:
    names = [name for name in known.examples[0] if name not in known.of_lineage] if known.examples else []
    if not names:
        return "There is no column of text to show."
    return _table(names, [[_cell(_short(row[name])) for name in names] for row in known.examples])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def lines() -> Iterator[str]:
        yield f"| {' | '.join(head)} |"
        yield f"|{' --- |' * len(head)}"
        yield from (f"| {' | '.join(row)} |" for row in rows)

    return "\n".join(lines())


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 3]}..."


def _cell(text: str) -> str:
    """Text as a table's cell has it."""
    return text.replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")
