"""The dataset's columns over a sink's rows: which are taken, under which names, in what form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.export import roles
from jobs.export.options import Options
from jobs.export.presets import preset
from jobs.export.steps import Steps
from jobs.export.values import Held, Value
from operators import columns
from operators.errors import SinkError, SpecError

_GIVEN = "--columns"


@dataclass(frozen=True)
class Mapped:
    """How rows of one run become rows of the dataset."""

    values: Mapping[str, Value]
    """By the new columns' names, in their order."""
    schema: pa.Schema

    @classmethod
    def of(cls, record: dict[str, Any], sink: pa.Schema, options: Options, where: str) -> Mapped:
        """Find every column that an export wants among those that a run's rows have.

        Args:
            record: the run's ``run.json``.
            sink: the columns of the sink's rows.
            options: of the export.
            where: the sink's URI.

        Raises:
            SinkError: a column can't be found.
            SpecError: a column is named that is not there, or has a name that is taken.
        """
        steps = Steps.of(record, sink)
        wanted = preset(options.preset, options.instruction).roles
        values: dict[str, Value] = {}
        for name, role in wanted.items():
            found = _given(name, options, sink) or roles.first([role.find, roles.named(name)], steps)
            if found is None and not role.optional:
                there = ", ".join(repr(column) for column in sink.names if column not in columns.LINEAGE.names)
                told = f"there is no column for {name!r} ({role.about}); there are {there}"
                raise SinkError(f"{told}; name one with `{_GIVEN} {name}=COLUMN`, or take another preset", where)
            values |= {name: found} if found else {}
        values |= {name: Held(_checked(name, old, sink)) for name, old in options.columns.items() if name not in values}
        if options.lineage:
            values |= {name: Held(name) for name in columns.LINEAGE.names if name in sink.names}
        return cls(values, columns.with_features(pa.schema([v.field(n, sink) for n, v in values.items()])))

    @property
    def needs(self) -> list[str]:
        """The columns of the sink that are read; the ids always are."""
        ids = (columns.ROW_ID, columns.SOURCE_ID)
        return list(dict.fromkeys([*(name for value in self.values.values() for name in value.needs), *ids]))

    def rows(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The dataset's rows for rows of the sink."""
        arrays = [value.of(batch) for value in self.values.values()]
        plain = [array.dictionary_decode() if pa.types.is_dictionary(array.type) else array for array in arrays]
        typed = [array.cast(field.type) for array, field in zip(plain, self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(typed, schema=self.schema)


def _given(name: str, options: Options, sink: pa.Schema) -> Value | None:
    return Held(_checked(name, options.columns[name], sink)) if name in options.columns else None


def _checked(name: str, column: str, sink: pa.Schema) -> str:
    if column not in sink.names:
        listed = ", ".join(map(repr, sink.names))
        raise SpecError(f"there is no column {column!r} in the sink; there are {listed}", f"{_GIVEN} {name}={column}")
    if name in columns.RESERVED:
        raise SpecError(f"{name!r} is a column of the lineage; call it something else", f"{_GIVEN} {name}={column}")
    return column
