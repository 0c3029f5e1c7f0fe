"""The plan: a job whose source was listed and whose steps' columns fit together; nothing was started or written."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from cluster.resources import Resources
from jobs.formats import FORMATS, DataFormat
from jobs.secrecy import refuse_credentials
from jobs.sources import Described, Source, open_source
from jobs.sources.selection import WRITTEN_BY_US
from jobs.spec import Job
from operators import Spec, columns
from operators.errors import ColumnError, ModelError, SpecError
from operators.models.adapters import AdapterRef
from operators.models.ref import ModelRef, Origin
from operators.near import meant

DEFAULT = "default"
"""The name in ``resources`` that stands for every step that is not named there."""


@dataclass(frozen=True)
class PlannedStep:
    """One step: its name, what it does, the columns of the rows that leave it, and where it runs."""

    name: str
    spec: Spec
    schema: pa.Schema
    resources: Resources


@dataclass(frozen=True)
class Stage:
    """Neighbouring steps that one actor takes, one after another."""

    steps: tuple[PlannedStep, ...]

    @property
    def names(self) -> list[str]:
        """The steps' names."""
        return [step.name for step in self.steps]

    @property
    def shared(self) -> list[ModelRef]:
        """The models that more than one of its steps uses."""
        uses = Counter(model for step in self.steps for model in set(step.spec.models()))
        return [model for model, steps in uses.items() if steps > 1]


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
    def stages(self) -> tuple[Stage, ...]:
        """The steps by the actors that take them: from the first to the last one that uses a model, it is one actor.

        So the weights that steps share are loaded once.
        """
        last = {model: at for at, step in enumerate(self.steps) for model in step.spec.models()}
        stages, first, end = [], 0, 0
        for at, step in enumerate(self.steps):
            end = max(at, end, *(last[model] for model in step.spec.models()))
            if at == end:
                stages.append(Stage(self.steps[first : at + 1]))
                first = at + 1
        return tuple(stages)

    @cached_property
    def output(self) -> pa.Schema:
        """Columns of the dataset that is written: the rows' own, then their lineage."""
        kept = [field for field in self.schema if field.name not in self.not_kept]
        return columns.with_features(pa.schema([*kept, *columns.LINEAGE], {WRITTEN_BY_US: b"1"}))

    @property
    def format(self) -> DataFormat:
        """How the dataset is stored."""
        return FORMATS[self.job.sink.format]

    @cached_property
    def rejected(self) -> pa.Schema:
        """Columns of rejected rows, without the reason: those of the dataset, and all that the source gave."""
        kept = {*self.output.names, *self.source.schema.names}
        fields = [field for field in self.schema if field.name in kept]
        return pa.schema([*fields, *columns.LINEAGE], self.output.metadata)

    @property
    def not_kept(self) -> list[str]:
        """Columns that steps hand on but that are not written."""
        return [] if self.job.sink.tensors else self._tensors

    @property
    def _tensors(self) -> list[str]:
        return [field.name for field in self.schema if columns.is_tensor(field.type)]

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
    def decisive(self) -> dict[str, Any]:
        """What decides a row's content, as JSON has it: source, steps, seed, and the tensors that are kept.

        Neither how many rows nor where it runs.
        """
        resolved = self.resolved()
        resolved["source"].pop("limit", None)
        return {
            **{key: resolved[key] for key in ("source", "steps", "seed")},
            "tensors": self._tensors if self.job.sink.tensors else [],
            "format": self.job.sink.format,
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what decides a row's content."""
        return hashlib.sha256(json.dumps(self.decisive, sort_keys=True).encode()).hexdigest()

    def resolved(self) -> dict[str, Any]:
        """The job with every default filled in, as JSON has it."""
        return self.job.model_dump(mode="json")


def make_plan(job: Job) -> Plan:
    """List the source and check every step against the columns that reach it.

    Raises:
        UserError: the source can't be listed, a column is missing or there twice, a model's folder is not there, a
            step is to be compiled that can't, the sink's format can't hold a column.
    """
    refuse_credentials(job.model_dump(mode="json"))
    _refuse_unknown_steps(job)
    source = job.source if isinstance(job.source, Source) else open_source(job.source)
    return plan_over(job, source.describe(job.sink.part_rows))


def plan_over(job: Job, source: Described) -> Plan:
    """Check every step against the columns that reach it from a source that is known already.

    Raises:
        UserError: as for :func:`make_plan`.
    """
    _refuse_unknown_steps(job)
    schema, steps = source.schema, []
    for at, (name, given) in enumerate(zip(job.step_names, job.steps, strict=True)):
        spec, where = given.settled(schema), f"steps.{at}.{given.kind}"
        for model in spec.models():
            _refuse_a_missing_folder(model, where)
        _refuse_a_later_column(job, at, schema, where)
        schema = spec.chain(schema, where)
        if spec.alone() and not any(earlier.branches() for earlier in job.steps[:at]):
            raise ColumnError(spec.alone(), where)
        steps.append(PlannedStep(name, spec, schema, _resources(job, name, spec)))
    plan = Plan(job.model_copy(update={"steps": tuple(step.spec for step in steps)}), source, tuple(steps))
    plan.format.refuse(plan.output)
    return plan


def _refuse_unknown_steps(job: Job) -> None:
    for name in job.resources:
        if name not in (DEFAULT, *job.step_names):
            raise SpecError(f"there is no step {name!r}{meant(name, [*job.step_names, DEFAULT])}", f"resources.{name}")


def _resources(job: Job, name: str, spec: Spec) -> Resources:
    """What a step asks for; the default's ``compile`` is for the steps that can be compiled."""
    if name not in job.resources:
        fallback = job.resources.get(DEFAULT, Resources())
        return fallback.model_copy(update={"compile": fallback.compile and spec.compiles})
    if job.resources[name].compile and not spec.compiles:
        raise SpecError(f"{spec.kind} can't be compiled; leave out `compile`", f"resources.{name}")
    return job.resources[name]


def _refuse_a_later_column(job: Job, at: int, schema: pa.Schema, where: str) -> None:
    for column in job.steps[at].reads():
        givers = [later for later in range(at + 1, len(job.steps)) if column in job.steps[later].writes()]
        if column not in schema.names and givers:
            giver = f"{job.step_names[givers[0]]!r}, which comes later (steps.{givers[0]})"
            raise ColumnError(f"column {column!r} is added by {giver}; put that step before this one", where)


def _refuse_a_missing_folder(model: ModelRef, where: str) -> None:
    if model.origin is not Origin.FOLDER or model.is_there:
        return
    if isinstance(model, AdapterRef):
        raise ModelError(f"there is no file or folder {str(model)!r}; give the adapter's own, a URI or a hub id", where)
    raise ModelError(f"there is no folder {str(model)!r}; give a model's folder, `builtin:NAME` or a hub id", where)
