"""The plan: a job whose source was listed and whose steps' columns fit together; nothing was started or written."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from jobs.mistakes import meant
from jobs.sources import Described, Source, open_source
from jobs.sources.selection import WRITTEN_BY_US
from jobs.spec import Job
from operators import Spec, columns
from operators.errors import ColumnError, ModelError, SpecError
from operators.models.ref import ModelRef, Origin

DEFAULT = "default"
"""The name in ``resources`` that stands for every step that is not named there."""


@dataclass(frozen=True)
class PlannedStep:
    """One step: its name, what it does, and the columns of the rows that leave it."""

    name: str
    spec: Spec
    schema: pa.Schema


@dataclass(frozen=True)
class Plan:
    """A job that can start."""

    job: Job
    source: Described
    steps: tuple[PlannedStep, ...]

    @property
    def schema(self) -> pa.Schema:
        """Columns of the rows that leave the last step."""
        return self.steps[-1].schema if self.steps else self.source.schema

    @cached_property
    def output(self) -> pa.Schema:
        """Columns of the dataset that is written: the rows' own, then their lineage."""
        return columns.with_features(pa.schema([*self.schema, *columns.LINEAGE], {WRITTEN_BY_US: b"1"}))

    @property
    def rows(self) -> int | None:
        """Source rows, or None where only reading tells."""
        return self.source.rows

    @property
    def rows_out(self) -> int | None:
        """Rows that come out if no row fails or is filtered."""
        return None if self.rows is None else self.rows * math.prod(len(s.spec.branches()) or 1 for s in self.steps)

    @property
    def parts(self) -> int | None:
        """Parts that will be committed."""
        counts = [fragment.rows for fragment in self.source.fragments]
        known = [math.ceil(rows / self.job.sink.part_rows) for rows in counts if rows is not None]
        return sum(known) if len(known) == len(counts) else None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what decides a row's content: source, steps and seed; not how many rows, nor where it runs."""
        decisive = self.resolved()
        decisive["source"].pop("limit", None)
        kept = {key: decisive[key] for key in ("source", "steps", "seed")}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    def resolved(self) -> dict[str, Any]:
        """The job with every default filled in, as JSON has it."""
        return self.job.model_dump(mode="json")


def make_plan(job: Job) -> Plan:
    """List the source and check every step against the columns that reach it.

    Raises:
        UserError: the source can't be listed, a column is missing or there twice, a model's folder is not there.
    """
    _refuse_unknown_steps(job)
    source = job.source if isinstance(job.source, Source) else open_source(job.source)
    described = source.describe(job.sink.part_rows)
    schema, steps = described.schema, []
    for at, (name, spec) in enumerate(zip(job.step_names, job.steps, strict=True)):
        where = f"steps.{at}.{spec.kind}"
        for model in spec.models():
            _refuse_a_missing_folder(model, where)
        _refuse_a_later_column(job, at, schema, where)
        schema = spec.chain(schema, where)
        steps.append(PlannedStep(name, spec, schema))
    return Plan(job, described, tuple(steps))


def _refuse_unknown_steps(job: Job) -> None:
    for name in job.resources:
        if name not in (DEFAULT, *job.step_names):
            raise SpecError(f"there is no step {name!r}{meant(name, [*job.step_names, DEFAULT])}", f"resources.{name}")


def _refuse_a_later_column(job: Job, at: int, schema: pa.Schema, where: str) -> None:
    for column in job.steps[at].reads():
        givers = [later for later in range(at + 1, len(job.steps)) if column in job.steps[later].writes()]
        if column not in schema.names and givers:
            giver = f"{job.step_names[givers[0]]!r}, which comes later (steps.{givers[0]})"
            raise ColumnError(f"column {column!r} is added by {giver}; put that step before this one", where)


def _refuse_a_missing_folder(model: ModelRef, where: str) -> None:
    if model.origin is Origin.FOLDER and not model.folder.is_dir():
        raise ModelError(f"there is no folder {str(model)!r}; give a model's folder, `builtin:NAME` or a hub id", where)
