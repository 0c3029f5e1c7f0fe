"""What is written of a finished part: its rows, its rejects, and one line of outcome for every source row.

And the rows that were left out, where they are asked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats import DataFormat, ParquetFormat
from jobs.formats.base import Packed
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
    """The schema of rejected and filtered rows without the reason; that of the dataset unless given."""
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
        figures = self.put(name, table, self.reasoned(rejected(table)), outcomes, noted)
        return counts(table) | {"rows_in": outcomes.num_rows} | figures

    def put(
        self, name: str, table: pa.Table, rejects: pa.Table, outcomes: pa.Table, noted: Mapping[str, str]
    ) -> dict[str, int]:
        """Write a part's objects, the outcomes last; tells how many ``files`` and ``bytes`` the accepted rows are.

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
        rows = _conformed(accepted(table), self.output)
        packed = self.format.write(self.epoch, stem(name), rows) if rows.num_rows else Packed({})
        about = {**(rejects.schema.metadata or {}), **noted}
        left_out = self._with(filtered(table), columns.FILTERED) if self.keeps_filtered else table[:0]
        told = packed.noted | ({FILTERED_ROWS: str(left_out.num_rows)} if left_out.num_rows else {})
        self.epoch.commit(
            name,
            encoded(rejects.replace_schema_metadata(about)) if rejects.num_rows else None,
            encoded(outcomes.replace_schema_metadata({**noted, **told})),
            encoded(left_out) if left_out.num_rows else None,
        )
        return packed.figures

    def reasoned(self, rejects: pa.Table) -> pa.Table:
        """Rejected rows as they were when they failed, with the step, code, message and attempt."""
        return self._with(rejects, columns.ERROR)

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


def accepted(table: pa.Table) -> pa.Table:
    """Of rows in flight those that came out."""
    return table.filter(pc.and_(pc.is_null(table[columns.ERROR]), table[columns.KEPT]))


def rejected(table: pa.Table) -> pa.Table:
    """Of rows in flight those that failed."""
    return table.filter(pc.is_valid(table[columns.ERROR]))


def filtered(table: pa.Table) -> pa.Table:
    """Of rows in flight those that a step left out, with the reason where it gave one."""
    if columns.FILTERED not in table.column_names:
        table = table.append_column(columns.FILTERED, pa.nulls(table.num_rows, columns.FILTERED_TYPE))
    return table.filter(pc.and_(pc.is_null(table[columns.ERROR]), pc.invert(table[columns.KEPT])))


def counts(table: pa.Table) -> dict[str, Any]:
    """What became of rows in flight, by name."""
    told = table.select(
        [name for name in (columns.ERROR, columns.KEPT, columns.FILTERED) if name in table.column_names]
    )
    left_out = filtered(told)[columns.FILTERED].to_pylist()
    return {
        "rows_out": accepted(told).num_rows,
        "filtered": len(left_out),
        "filtered_by": dict(Counter(why["step"] for why in left_out if why)),
        "rejected": dict(Counter(error["code"] for error in rejected(told)[columns.ERROR].to_pylist())),
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
