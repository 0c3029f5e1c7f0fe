"""What is written of a finished part: its rows, its rejects, and one line of outcome for every source row."""

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
from jobs.sink.ledger import Epoch, stem
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

    def commit(self, table: pa.Table, file: str, noted: Mapping[str, str]) -> dict[str, Any]:
        """Write a part and tell its counts; the same part written again overwrites itself.

        Args:
            table: the rows, in flight.
            file: the key of the source file that they come from.
            noted: what the objects are to say of the part, in their metadata.
        """
        rows, rejects = sorted_out(table)
        outcomes = _outcomes(table)
        name = self.epoch.part_name(self._digest(outcomes), file)
        figures = self.put(name, rows, self.reasoned(rejects), outcomes, noted)
        return counts(table) | {"rows_in": outcomes.num_rows} | figures

    def put(
        self, name: str, rows: pa.Table, rejects: pa.Table, outcomes: pa.Table, noted: Mapping[str, str]
    ) -> dict[str, int]:
        """Write a part's objects, the outcomes last; tells how many ``files`` and ``bytes`` the accepted rows are.

        Args:
            name: what the part is called.
            rows: the accepted rows, in flight.
            rejects: the rejected rows, :meth:`reasoned`.
            outcomes: as in :data:`OUTCOME`.
            noted: as for :meth:`commit`.

        Raises:
            SinkError: a later run has taken over the sink, or it can't be written.
        """
        # Data are seen by whoever lists them, so rows that another run is to make are not put beside its own.
        self.epoch.refuse_if_overtaken()
        conformed = _conformed(rows, self.output)
        packed = self.format.write(self.epoch, stem(name), conformed) if rows.num_rows else Packed({})
        about = {**(rejects.schema.metadata or {}), **noted}
        self.epoch.commit(
            name,
            encoded(rejects.replace_schema_metadata(about)) if rejects.num_rows else None,
            encoded(outcomes.replace_schema_metadata({**noted, **packed.noted})),
        )
        return packed.figures

    def reasoned(self, rejects: pa.Table) -> pa.Table:
        """Rejected rows as they were when they failed, with the step, code, message and attempt."""
        rows = _conformed(rejects, self.rejected or self.output)
        errors = rejects[columns.ERROR].combine_chunks()
        for name in ("step", "code", "message", "attempt"):
            rows = rows.append_column(f"{columns.ERROR}_{name}", errors.field(name))
        return rows

    def _digest(self, outcomes: pa.Table) -> str:
        digest = hashlib.blake2b(self.epoch.fingerprint.encode(), digest_size=10)
        for source_id in outcomes[columns.SOURCE_ID].to_pylist():
            digest.update(b"\0" + source_id.encode())
        return digest.hexdigest()


def sorted_out(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Of rows in flight those that are accepted, and those that failed."""
    failed = pc.is_valid(table[columns.ERROR])
    return table.filter(pc.and_(pc.invert(failed), table[columns.KEPT])), table.filter(failed)


def counts(table: pa.Table) -> dict[str, Any]:
    """What became of rows in flight, by name."""
    rows, rejects = sorted_out(table)
    codes = Counter(error["code"] for error in rejects[columns.ERROR].to_pylist())
    filtered = table.num_rows - rows.num_rows - rejects.num_rows
    return {"rows_out": rows.num_rows, "filtered": filtered, "rejected": dict(codes)}


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
