"""The steps of a run, read back from its record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from jobs.lineage.steps import names
from jobs.spec import options_type
from operators import KINDS, Spec


@dataclass(frozen=True)
class Step:
    """One step as a run has noted it."""

    name: str
    kind: str
    options: dict[str, Any]
    """All of them, as JSON has them."""
    spec: Spec | None
    """None where this version has no such operator, or not with these options."""


@dataclass(frozen=True)
class Steps:
    """The steps that made a sink's rows, in their order, and the columns that the rows have."""

    all: tuple[Step, ...]
    schema: pa.Schema

    @classmethod
    def of(cls, record: dict[str, Any], schema: pa.Schema) -> Steps:
        """The steps of a run.

        Args:
            record: its ``run.json``.
            schema: of the sink's rows.
        """
        steps = record["job"]["steps"]
        given = zip(names(steps), (next(iter(step.items())) for step in steps), strict=True)
        return cls(tuple(Step(name, kind, told, _spec(kind, told)) for name, (kind, told) in given), schema)

    @property
    def backwards(self) -> Iterator[Spec]:
        """The specs, the last step's first."""
        return (step.spec for step in reversed(self.all) if step.spec)

    def name_of(self, spec: Spec) -> str:
        """What the step with this spec is called."""
        return next(step.name for step in self.all if step.spec is spec)


def _spec(kind: str, options: dict[str, Any]) -> Spec | None:
    if kind not in KINDS:
        return None
    try:
        spec: Spec = TypeAdapter(options_type(kind)).validate_python(options)
    except ValidationError:
        return None
    return spec
