"""A step that leaves rows out, by their seeds: the same rows however often they are made."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa

from operators import Operator, Spec, columns
from operators.base import Kind, Produced
from operators.models.ref import ModelRef
from operators.watch import Watch


class Thinned(Spec):
    """Keeps about so many of every hundred rows."""

    kind: ClassVar[str] = "thinned"

    keep: int
    with_edit: bool = False

    def reads(self) -> dict[str, Kind]:
        return {}

    def models(self) -> tuple[ModelRef, ...]:
        """The one that the edit uses, so that both steps are in one stage."""
        return (ModelRef("builtin:stable-diffusion"),) if self.with_edit else ()

    def writes(self) -> dict[str, pa.DataType]:
        return {}

    def load(self, step: Any = None, batch_rows: int = 16, **_: Any) -> Any:
        return Thinning(self, step, batch_rows)


class Thinning(Operator[Thinned, None]):
    def __call__(self, table: pa.Table, watch: Watch | None = None) -> pa.Table:  # noqa: ARG002
        kept = [seed % 100 < self.spec.keep for seed in table[columns.SEED].to_pylist()]
        return table.set_column(table.schema.get_field_index(columns.KEPT), columns.KEPT, pa.array(kept))

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Any]:
        raise NotImplementedError

    def run(self, batch: list[Any]) -> Produced:
        raise NotImplementedError
