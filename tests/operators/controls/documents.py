"""The tables of docs/controls.md, made of the controls themselves: ``python -m tests.operators.controls.documents``."""

from __future__ import annotations

import re
from pathlib import Path

from jobs.show import options
from operators import METHODS, Edit
from operators.controls import CONTROLS, ControlSpec
from operators.controls.combining import refusal

PAGE = Path(__file__).parents[3] / "docs" / "controls.md"
START, END = "<!-- made by tests.operators.controls.documents -->", "<!-- end -->"


def pairs() -> str:
    """Which control goes with which, and with which method of ``edit``; reasons are numbered below the table."""
    reasons: list[str] = []
    heads = [*CONTROLS, *(f"edit: {_method(method)}" for method in METHODS)]
    lines = [f"| | {' | '.join(f'`{head}`' for head in heads)} |", f"|---|{'---|' * len(heads)}"]
    for spec in CONTROLS.values():
        cells = [_cell(reason, reasons) for reason in _row(spec)]
        lines.append(f"| `{spec.kind}` | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{at}. {reason}" for at, reason in enumerate(reasons, 1))])


def tables() -> str:
    """The options of every control."""
    blocks = []
    for kind, spec in CONTROLS.items():
        rows = [f"| `{name}` | {_shown(default)} | {about} |" for name, default, about in options(spec)]
        about = re.sub(r"\s+", " ", (spec.__doc__ or "").strip())
        blocks.append(
            "\n".join([f"### {kind}", "", about, "", "| option | default | what it does |", "|---|---|---|", *rows])
        )
    return "\n\n".join(blocks)


def made() -> list[str]:
    """What stands between the marks of the page, in its order."""
    return [pairs(), tables()]


def written() -> list[str]:
    """What stands there now."""
    return [part.strip() for part in re.findall(f"{START}(.*?){END}", PAGE.read_text(), re.DOTALL)]


def _row(spec: type[ControlSpec]) -> list[str | None]:
    others = [
        (None if one.repeatable else "one step has it once") if one is spec else refusal(spec.touches, one.touches)
        for one in CONTROLS.values()
    ]
    return [*others, *(refusal(spec.touches, method.touches) for method in METHODS)]


def _cell(reason: str | None, reasons: list[str]) -> str:
    if reason is None:
        return "yes"
    if reason not in reasons:
        reasons.append(reason)
    return str(reasons.index(reason) + 1)


def _method(spec: type[Edit]) -> str:
    return str(spec.model_fields["method"].default)


def _shown(default: str) -> str:
    return default if default in ("-", "must be given") else f"`{default}`"


if __name__ == "__main__":
    parts = iter(made())
    PAGE.write_text(
        re.sub(f"{START}.*?{END}", lambda _: f"{START}\n{next(parts)}\n{END}", PAGE.read_text(), flags=re.DOTALL)
    )
