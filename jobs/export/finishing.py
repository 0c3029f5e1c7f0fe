"""Pictures that stand in the place of others when they are published: those that were blurred, or marked."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.export.steps import Step


def finished(column: str, steps: Sequence[Step]) -> str:
    """The column where a column's pictures are once all steps have blurred and marked them."""
    for step in steps:
        if step.options.get("image") == column:
            column = _in_place(step) or column
    return column


def _in_place(step: Step) -> str | None:
    match step.kind, step.options:
        case "mark", {"output": output}:
            return str(output)
        case "safety", {"action": "blur", "output": output}:
            return f"{output}_blurred"
    return None
