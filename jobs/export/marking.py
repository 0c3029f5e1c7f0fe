"""How a dataset's pictures are marked as made or edited by a model, as far as the run's record tells."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.export.steps import Step

_MAKERS = ("generate", "edit", "pipeline")


def marking(steps: Sequence[Step]) -> str:
    """A few sentences on marks, for a person."""
    told = [_made(step) for step in steps if step.kind in _MAKERS] + [
        _marked(step) for step in steps if step.kind == "mark"
    ]
    return "\n".join(f"- {line}" for line in told) or "No step made or changed a picture."


def _made(step: Step) -> str:
    # Runs of earlier versions have noted nothing of marks, since there were none.
    return f"`{step.name}`: {_XMP if step.options.get(_OPTION, False) else 'no marks are noted'}"


def _marked(step: Step) -> str:
    return f"`{step.name}`: " + ", ".join(f"`{key}: {value}`" for key, value in step.options.items() if value)


_OPTION = "marks"
_XMP = "pictures carry IPTC XMP metadata (DigitalSourceType, AI system, prompt)"
