"""How a dataset's pictures are marked as made or edited by a model, as far as the run's record tells."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.export.steps import Step

_MAKERS = ("generate", "edit", "pipeline")
_MARK = "mark"

_XMP = "XMP in every picture says that a model made or edited it, which one, and in which version"
_TOLD = {"full": f"{_XMP}, and from what prompt", "without_prompt": _XMP, "none": "pictures are not marked"}
"""By the option `marks` of a step that makes pictures; runs before there was one have not marked any."""


def marking(steps: Sequence[Step]) -> str:
    """What is known of marks, a line for each step that makes or marks pictures."""
    told = [(step, _made(step)) for step in steps if step.kind in _MAKERS]
    told += [(step, _marked(step)) for step in steps if step.kind == _MARK]
    return "\n".join(f"- `{step.name}`: {line}" for step, line in told) or "No step made or changed a picture."


def _made(step: Step) -> str:
    return _TOLD[step.options.get("marks", "none")]


def _marked(step: Step) -> str:
    ways = {"watermark": "a watermark in the pixels", "certificate": "signed Content Credentials (C2PA)"}
    named = [way for option, way in ways.items() if step.options.get(option)]
    return f"pictures in `{step.options['output']}` carry {', '.join(['XMP', *named])}"
