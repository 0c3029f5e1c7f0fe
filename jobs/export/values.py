"""What an exported column holds: another column, the same in every row, or what a row's branch tells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from operators.base import Column
from operators.columns import ROW_ID, SOURCE_ID


class Value(ABC):
    """How a column is had from the rows of a sink."""

    @property
    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """The columns of the sink that it is made of."""

    @abstractmethod
    def of(self, rows: pa.RecordBatch) -> pa.Array:
        """The values of such rows."""

    def field(self, name: str, schema: pa.Schema) -> pa.Field:  # noqa: ARG002
        """The column, in rows that come from a sink with such a schema; text unless it is said otherwise."""
        return pa.field(name, pa.string())


@dataclass(frozen=True)
class Held(Value):
    """A column of the sink, as it is."""

    column: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def of(self, rows: pa.RecordBatch) -> pa.Array:
        """The column."""
        return rows[self.column]

    def field(self, name: str, schema: pa.Schema) -> pa.Field:
        """The column under its new name; one of dictionaries becomes plain."""
        given = schema.field(self.column)
        kind = given.type.value_type if pa.types.is_dictionary(given.type) else given.type
        kept = {key: value for key, value in (given.metadata or {}).items() if not key.startswith(b"PARQUET:")}
        return pa.field(name, kind, metadata=kept or None)


@dataclass(frozen=True)
class Said(Value):
    """The same in every row."""

    value: str | int

    @property
    def needs(self) -> tuple[str, ...]:
        """No column."""
        return ()

    def of(self, rows: pa.RecordBatch) -> pa.Array:
        """The value, as often as there are rows."""
        return pa.repeat(self._scalar, rows.num_rows)

    def field(self, name: str, schema: pa.Schema) -> pa.Field:  # noqa: ARG002
        """Text, or a whole number."""
        return pa.field(name, self._scalar.type)

    @property
    def _scalar(self) -> pa.Scalar:
        return pa.scalar(self.value, pa.string() if isinstance(self.value, str) else pa.int32())


@dataclass(frozen=True)
class Branched(Value):
    """What the branch tells that a row took in a 1 to N step; null in rows that took none."""

    step: str
    by_label: Mapping[str, str]

    @property
    def needs(self) -> tuple[str, ...]:
        """The ids, which end with the branches' labels."""
        return (ROW_ID, SOURCE_ID)

    def of(self, rows: pa.RecordBatch) -> pa.Array:
        """What stands for each row's label."""
        by_segment = {f"{self.step}.{label}": text for label, text in self.by_label.items()}
        ids = zip(rows[ROW_ID].to_pylist(), rows[SOURCE_ID].to_pylist(), strict=True)
        segments = (row_id[len(source_id) :].split("/") for row_id, source_id in ids)
        found = [next((by_segment[part] for part in parts if part in by_segment), None) for parts in segments]
        return pa.array(found, pa.string())


def optional(option: str | Column | None) -> Value | None:
    """What an option is in every row: a column's value or its own; nothing where it was not given."""
    if option is None:
        return None
    return Held(option.column) if isinstance(option, Column) else Said(option)
