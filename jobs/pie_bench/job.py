"""The benchmark as one job: an edit by every method, then a score of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from jobs.jobfile import Change
from jobs.mistakes import first_mistake
from jobs.spec import Job, methods
from operators import Edit, Score
from operators.errors import SpecError
from operators.near import meant
from operators.score import Preset

SCORE, RESOURCES = "score", "resources"
"""What changes may be of, beside methods."""

_SHOWN, _WANTED, _SAID = ({"column": name} for name in ("original_prompt", "editing_prompt", "editing_instruction"))

_OWN: dict[str, dict[str, Any]] = {
    "pix2pix_zero": {"start": "picture"},
    "diffedit": {"empty": "copy"},
    "inpaint": {"mask": "mask"},
    "instruct": {"target_prompt": _SAID},
}
"""What methods are told beside the two prompts. A row that one rejects is lost to all; an empty mask is no reason."""


def benchmark(
    folder: str,
    chosen: Sequence[str],
    sink: str,
    model: str | None = None,
    limit: int | None = None,
    changes: Sequence[str] = (),
) -> Job:
    """The job that runs methods on the benchmark.

    Args:
        folder: of the benchmark, or its URI.
        chosen: methods of ``edit``; each adds its pictures in a column of its name, and its scores with that before
            their names.
        sink: where rows go.
        model: a Stable Diffusion model, for the methods that don't need one of their own.
        limit: take only so many pictures.
        changes: ``diffedit.steps=20``, ``score.clip=builtin:clip`` or ``resources.default.batch_rows=4``.

    Raises:
        SpecError: there is no such method or option, or a value won't do.
    """
    known = methods(Edit.kind)
    for name in chosen:
        if name not in known:
            raise SpecError(f"there is no edit method {name!r}{meant(name, known)}", "--methods")
    if len(set(chosen)) < len(chosen) or not chosen:
        raise SpecError("name each method once, as in pix2pix_zero,diffedit", "--methods")
    options: dict[str, Any] = {name: _edit(name, model) for name in chosen} | {SCORE: {}, RESOURCES: {}}
    for change in map(Change.parse, changes):
        if change.keys[0] not in options or len(change.keys) < 2:
            raise SpecError(f"changes begin with one of {', '.join(options)} and an option", f"--set {change.text}")
        change.apply(options)
    content = {
        "name": "pie-bench",
        "source": {"uri": folder, "format": "pie_bench", "limit": limit},
        "steps": [
            *({Edit.kind: options[name]} for name in chosen),
            *({Score.kind: _score(name) | options[SCORE]} for name in chosen),
        ],
        "sink": sink,
        "resources": options[RESOURCES],
    }
    try:
        return Job.model_validate(content, by_alias=True, by_name=False)
    except ValidationError as error:
        keys, message = first_mistake(error, content)
        raise SpecError(message, ".".join(map(str, keys))) from error


def _edit(method: str, model: str | None) -> dict[str, Any]:
    spec = methods(Edit.kind)[method]
    own_model = "model" in spec.__annotations__ or model is None
    return {
        "method": method,
        "prompt": _SHOWN,
        "target_prompt": _WANTED,
        "output": method,
        **({} if own_model else {"model": model}),
        **_OWN.get(method, {}),
    }


def _score(method: str) -> dict[str, Any]:
    return {
        "preset": Preset.PIE_BENCH.value,
        "image": method,
        "source_prompt": _SHOWN,
        "target_prompt": _WANTED,
        "prefix": prefix(method),
    }


def prefix(method: str) -> str:
    """What the names of a method's scores begin with."""
    return f"{method}_"
