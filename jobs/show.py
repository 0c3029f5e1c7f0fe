"""Plans and operators as text for a person."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs.plan import Plan
from jobs.spec import METHOD, methods
from operators import KINDS, Column
from operators.controls import CONTROLS

Option = tuple[str, str, str]
"""An option's name, default and description."""

_OPTIONS: Option = ("option", "default", "what it does; `or column` takes {column: NAME} too, a value for every row")


def shown_plan(plan: Plan) -> str:
    """What a job would do: source, steps with their models and columns, rows and parts."""
    lines = [("step", "model", "reads", "adds"), ("source", "", "", ", ".join(plan.source.schema.names))]
    for step in plan.steps:
        models = [f"{model} (built in)" if model.startswith("builtin:") else model for model in step.spec.models()]
        fan = f" (1 -> {len(step.spec.branches())} rows)" if step.spec.branches() else ""
        lines.append((step.name, ", ".join(models), ", ".join(step.spec.reads()), ", ".join(step.spec.writes()) + fan))
    notes = [f"{' + '.join(s.names)} share one actor and {', '.join(s.shared)}" for s in plan.stages if s.shared]
    if plan.not_kept:
        notes.append(f"not kept: {', '.join(plan.not_kept)} (tensors; keep them with sink.tensors: true)")
    rows = "unknown until read" if plan.rows is None else f"{plan.rows:,} -> {plan.rows_out:,}"
    parts = "unknown until read" if plan.parts is None else f"{plan.parts:,}"
    head = f"{plan.job.name}: {plan.source.uri} -> {plan.job.sink.uri}"
    foot = f"rows {rows}, parts {parts}, plan {plan.fingerprint[:12]}"
    return "\n\n".join([head, table(lines), *(["\n".join(notes)] if notes else []), foot])


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """The same by name, with the whole job as it was understood."""
    return {
        "name": plan.job.name,
        "fingerprint": plan.fingerprint,
        "rows": plan.rows,
        "rows_out": plan.rows_out,
        "parts": plan.parts,
        "columns": {field.name: str(field.type) for field in plan.output},
        "not_kept": plan.not_kept,
        "stages": [stage.names for stage in plan.stages],
        "steps": [
            {
                "name": step.name,
                "models": [str(model) for model in step.spec.models()],
                "reads": {name: kind.value for name, kind in step.spec.reads().items()},
                "writes": {name: str(kind) for name, kind in step.spec.writes().items()},
            }
            for step in plan.steps
        ],
        "job": plan.resolved(),
    }


def shown_operators() -> str:
    """A line on each operator, or on each method of one that has several."""
    lines = []
    for kind, specs in KINDS.items():
        by_method = methods(kind) or {"": specs[0]}
        lines += [(kind, method, _summary(spec)) for method, spec in by_method.items()]
    return table(lines)


def shown_options(kind: str) -> str:
    """Every option of an operator, with its default and what it does; common ones once."""
    by_method = methods(kind)
    if not by_method:
        (spec,) = KINDS[kind]
        return f"{kind}: {_summary(spec)}\n\n{table([_OPTIONS, *options(spec)])}"
    common, own = common_options(kind)
    blocks = [f"{kind}: {', '.join(by_method)}\n\n{table([_OPTIONS, *common])}"]
    for method, spec in by_method.items():
        title = f"{kind}, method {method}: {_summary(spec)}"
        blocks.append(f"{title}\n\n{table(own[method])}" if own[method] else title)
    return "\n\n".join(blocks)


def shown_controls() -> str:
    """A line on each control."""
    return table([(kind, _summary(spec)) for kind, spec in CONTROLS.items()])


def shown_control(kind: str) -> str:
    """Every option of a control, with its default and what it does."""
    spec = CONTROLS[kind]
    return f"{kind}: {_summary(spec)}\n\n{table([_OPTIONS, *options(spec)])}"


def common_options(kind: str) -> tuple[list[Option], dict[str, list[Option]]]:
    """The options that all methods of an operator have, as most have them, and what is each method's own."""
    given = {method: [row for row in options(spec) if row[0] != METHOD] for method, spec in methods(kind).items()}
    everywhere = set.intersection(*({name for name, _, _ in rows} for rows in given.values()))
    alike = Counter(row for rows in given.values() for row in rows)
    common = [row for row, count in alike.items() if row[0] in everywhere and count > len(given) / 2]
    which: Option = (METHOD, "must be given", ", ".join(given))
    return [which, *common], {method: [row for row in rows if row not in common] for method, rows in given.items()}


def options(model: type[BaseModel], within: str = "") -> Iterator[Option]:
    """Name, default and description of each option; those of a nested mapping as ``sampling.top_k``."""
    for attribute, field in model.model_fields.items():
        name = field.alias or attribute
        kinds = _kinds(field.annotation)
        about = f"{field.description or ''}{' (or column)' if Column in kinds else ''}"
        yield f"{within}{name}", _default(field), about
        for kind in dict.fromkeys(kinds):
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not Column:
                yield from options(kind, f"{within}{name}.")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in aligned columns, the last one wrapped to the terminal; in a pipe every row is one line."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    indent = sum(width + 2 for width in widths)
    room = max(shutil.get_terminal_size().columns, indent + 30) if sys.stdout.isatty() else sys.maxsize
    return "\n".join(
        textwrap.fill(
            "".join(cell.ljust(width + 2) for cell, width in zip(row, widths, strict=False)) + row[-1],
            room,
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for row in rows
    )


def _kinds(annotation: Any) -> list[Any]:
    """The types that an annotation allows."""
    inner = getattr(annotation, "__args__", ())
    return [kind for arg in inner for kind in _kinds(arg)] if inner else [annotation]


def _summary(spec: type[BaseModel]) -> str:
    return (spec.__doc__ or "").strip().splitlines()[0]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Column):
        return f"{{column: {value.column}}}"
    return "-" if value is None else json.dumps(value, default=str)
