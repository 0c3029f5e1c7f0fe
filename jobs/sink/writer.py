"""What is written of a finished part: its rows, its rejects, and one line of outcome for every source row.

And the rows that were left out, where they are asked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats import DataFormat, ParquetFormat
from jobs.formats.parquet import encoded
from jobs.sink.ledger import FILTERED_ROWS, Epoch, stem
from operators import columns

OUTCOME = pa.schema(
    [
        (columns.SOURCE_ID, pa.string()),
        ("outcome", pa.string()),
        ("outputs", pa.int32()),
        ("rejects", pa.int32()),
        ("attempt", pa.int32()),
        (columns.CONTENT_HASH, pa.string()),
        ("version", pa.int64()),
    ]
)
"""One line per source row: ``ok``, ``filtered`` or ``rejected``, and how many rows it became.

``version`` is a hash of what the source told of the row without its being read; 0 where that was nothing.
"""


@dataclass(frozen=True)
class Writer:
    """Commits parts of one epoch. ``output`` is the schema of the dataset, ``format`` how its rows are stored."""

    epoch: Epoch
    output: pa.Schema
    format: DataFormat = field(default_factory=ParquetFormat)
    rejected: pa.Schema | None = None
    """The schema of rejected rows without the reason; that of the dataset unless given."""
    keeps_filtered: bool = False
    """Whether rows that steps left out are written too."""

    def commit(self, table: pa.Table, file: str, noted: Mapping[str, str]) -> dict[str, Any]:
        """Write a part and tell its counts; the same part written again overwrites itself.

        Args:
            table: the rows, in flight.
            file: the key of the source file that they come from.
            noted: what the objects are to say of the part, in their metadata.
        """
        outcomes = _outcomes(table)
        name = self.epoch.part_name(self._digest(outcomes), file)
        self.put(name, table, self.reasoned(sorted_out(table).rejected), outcomes, noted)
        return counts(table) | {"rows_in": outcomes.num_rows}

    def put(self, name: str, table: pa.Table, rejects: pa.Table, outcomes: pa.Table, noted: Mapping[str, str]) -> None:
        """Write a part's objects, the outcomes last.

        Args:
            name: what the part is called.
            table: rows in flight, of which the accepted ones are written, and those that were left out if asked for.
            rejects: the rejected rows, :meth:`reasoned`.
            outcomes: as in :data:`OUTCOME`.
            noted: as for :meth:`commit`.

        Raises:
            SinkError: a later run has taken over the sink, or it can't be written.
        """
        # Data are seen by whoever lists them, so rows that another run is to make are not put beside its own.
        self.epoch.refuse_if_overtaken()
        rows = sorted_out(table).accepted
        told = self.format.write(self.epoch, stem(name), _conformed(rows, self.output)) if rows.num_rows else {}
        about = {**(rejects.schema.metadata or {}), **noted}
        filtered = self._filtered(table)
        told |= {} if filtered is None else {FILTERED_ROWS: str(filtered.num_rows)}
        self.epoch.commit(
            name,
            encoded(rejects.replace_schema_metadata(about)) if rejects.num_rows else None,
            encoded(outcomes.replace_schema_metadata({**noted, **told})),
            None if filtered is None else encoded(filtered),
        )

    def reasoned(self, rejects: pa.Table) -> pa.Table:
        """Rejected rows as they were when they failed, with the step, code, message and attempt."""
        return self._with(rejects, columns.ERROR)

    def _filtered(self, table: pa.Table) -> pa.Table | None:
        """Rows as they were when they were left out, with the step and the reason; None where none are to be kept."""
        left_out = sorted_out(table).filtered
        if not left_out.num_rows or not self.keeps_filtered:
            return None
        if columns.FILTERED not in left_out.column_names:
            left_out = left_out.append_column(columns.FILTERED, pa.nulls(left_out.num_rows, columns.FILTERED_TYPE))
        return self._with(left_out, columns.FILTERED)

    def _with(self, table: pa.Table, why: str) -> pa.Table:
        """Rows in flight that didn't come out, and why, a column for each of its fields."""
        rows = _conformed(table, self.rejected or self.output)
        told = table[why].combine_chunks()
        for each in told.type:
            rows = rows.append_column(f"{why}_{each.name}", pc.struct_field(told, each.name))
        return rows

    def _digest(self, outcomes: pa.Table) -> str:
        digest = hashlib.blake2b(self.epoch.fingerprint.encode(), digest_size=10)
        for source_id in outcomes[columns.SOURCE_ID].to_pylist():
            digest.update(b"\0" + source_id.encode())
        return digest.hexdigest()


class Sorted(NamedTuple):
    """Rows in flight by what became of them."""

    accepted: pa.Table
    rejected: pa.Table
    filtered: pa.Table


def sorted_out(table: pa.Table) -> Sorted:
    """Sort rows in flight by what became of them."""
    failed, kept = pc.is_valid(table[columns.ERROR]), table[columns.KEPT]
    sound = pc.invert(failed)
    return Sorted(
        table.filter(pc.and_(sound, kept)), table.filter(failed), table.filter(pc.and_(sound, pc.invert(kept)))
    )


def counts(table: pa.Table) -> dict[str, Any]:
    """What became of rows in flight, by name."""
    rows = sorted_out(table)
    codes = Counter(error["code"] for error in rows.rejected[columns.ERROR].to_pylist())
    filtered_by: Counter[str] = Counter()
    if columns.FILTERED in rows.filtered.column_names:
        filtered_by.update(told["step"] for told in rows.filtered[columns.FILTERED].to_pylist() if told)
    return {
        "rows_out": rows.accepted.num_rows,
        "filtered": rows.filtered.num_rows,
        "filtered_by": dict(filtered_by),
        "rejected": dict(codes),
    }


def _outcomes(table: pa.Table) -> pa.Table:
    failed = pc.is_valid(table[columns.ERROR])
    counted = pa.table(
        {
            columns.SOURCE_ID: table[columns.SOURCE_ID],
            columns.CONTENT_HASH: table[columns.CONTENT_HASH],
            "version": table[columns.VERSION],
            "outputs": pc.and_(pc.invert(failed), table[columns.KEPT]).cast(pa.int32()),
            "rejects": failed.cast(pa.int32()),
        }
    )
    keys = [columns.SOURCE_ID, columns.CONTENT_HASH, "version"]
    grouped = counted.group_by(keys, use_threads=False).aggregate([("outputs", "sum"), ("rejects", "sum")])
    outputs, rejects = grouped["outputs_sum"].cast(pa.int32()), grouped["rejects_sum"].cast(pa.int32())
    without = pc.if_else(pc.greater(rejects, 0), "rejected", "filtered")
    return pa.table(
        {
            columns.SOURCE_ID: grouped[columns.SOURCE_ID],
            "outcome": pc.if_else(pc.greater(outputs, 0), "ok", without),
            "outputs": outputs,
            "rejects": rejects,
            "attempt": pa.repeat(pa.scalar(1, pa.int32()), grouped.num_rows),
            columns.CONTENT_HASH: grouped[columns.CONTENT_HASH],
            "version": grouped["version"],
        },
        OUTCOME,
    )


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.table([table[field.name].cast(field.type) for field in schema], schema)
