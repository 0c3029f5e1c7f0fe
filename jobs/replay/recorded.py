"""The job that a run's record tells, ready to be done again: its steps, where they ran, and its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from jobs.mistakes import first_mistake
from jobs.plan import Plan
from jobs.sources import Source, SourceSpec
from jobs.spec import Job
from operators import KINDS, Spec
from operators.errors import SpecError
from operators.models.ref import ModelRef

_USUAL_ROWS = 16
"""Of a batch where the record doesn't tell."""


@dataclass(frozen=True)
class Placed:
    """One step, and how it ran."""

    name: str
    spec: Spec
    batch_rows: int
    threads: int | None
    compiled: bool


@dataclass(frozen=True)
class Recorded:
    """A run's job."""

    record: Mapping[str, Any]
    steps: tuple[Placed, ...]
    seed: int
    source: SourceSpec | Source

    @classmethod
    def of(cls, record: Mapping[str, Any], plan: Plan | None = None) -> Recorded:
        """Read the job of a run's record; models from the hub are pinned to the commit that the run had.

        Args:
            record: ``run.json``.
            plan: of the job itself; where the record is of the same plan, steps and source are taken from it.

        Raises:
            SpecError: the job has steps or a source that were made in Python, or is none of this version.
        """
        job = plan.job if plan is not None and plan.fingerprint == record["fingerprint"] else _parsed(record)
        steps = zip(job.step_names, job.steps, strict=True)
        return cls(record, tuple(_placed(name, spec, record) for name, spec in steps), job.seed, job.source)

    def at(self, uri: str) -> SourceSpec | Source:
        """The source that rows with such a ``source_uri`` were read from, wherever the run was started.

        Raises:
            SpecError: it was an object in Python.
        """
        if isinstance(self.source, Source):
            return self.source
        if "/" not in uri and ":" not in uri:
            advice = "replay them in Python, with the job: `replay(sink, ids, job)`"
            raise SpecError(f"these rows were read from an object in Python, a {self.source.uri}; {advice}", "source")
        return self.source.model_copy(update={"uri": uri})


def _parsed(record: Mapping[str, Any]) -> Job:
    content = {
        **record["job"],
        "steps": [_pinned(step, record.get("revisions", {})) for step in record["job"]["steps"]],
    }
    for at, step in enumerate(content["steps"]):
        if not KINDS.keys() & step.keys():
            advice = "replay such rows in Python, with the job: `replay(sink, ids, job)`"
            raise SpecError(f"the step {next(iter(step))!r} was made in Python; {advice}", f"steps.{at}")
    try:
        return Job.model_validate(content)
    except ValidationError as error:
        keys, told = first_mistake(error, content)
        then = record.get("packages", {}).get("latentmill")
        raise SpecError(
            f"the job of run {record['run_id']}, by Latentmill {then}, is none of this version: {told}",
            ".".join(map(str, keys)),
        ) from None


def _pinned(options: Any, revisions: Mapping[str, str]) -> Any:
    """Options whose models from the hub have the commit that the run had."""
    if isinstance(options, str) and options in revisions and ModelRef(options).revision is None:
        return f"{options}@{revisions[options]}"
    if isinstance(options, Mapping):
        return {name: _pinned(value, revisions) for name, value in options.items()}
    return [_pinned(value, revisions) for value in options] if isinstance(options, list) else options


def _placed(name: str, spec: Spec, record: Mapping[str, Any]) -> Placed:
    for placement in record["resources"]:
        for running in placement["steps"]:
            if running["step"] == name:
                return Placed(name, spec, running["batch_rows"], placement["threads"], running["compiled"])
    return Placed(name, spec, _USUAL_ROWS, None, False)
