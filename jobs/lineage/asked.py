"""Which rows of a sink an id stands for: one row, all rows of a source row, one that was rejected or left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.sink import rejects
from jobs.sink.ledger import FILTERED
from jobs.sink.rows import SinkRows, source_ids_of
from operators import columns
from operators.errors import UserError
from operators.near import meant

_NEAR = 5_000
"""Ids among which the nearest to an unknown one is looked for."""


class State(StrEnum):
    """What became of a row."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FILTERED = "filtered"


@dataclass(frozen=True)
class Asked:
    """A row, with what its outcome tells."""

    state: State
    values: Mapping[str, Any]
    """By column; of one that was filtered and not kept, ids and content hash alone."""
    schema: pa.Schema
    part: str
    outcome: Mapping[str, Any]
    """Of the source row, all attempts together: ``outcome``, ``outputs``, ``rejects``, ``attempts``."""
    noted: Mapping[bytes, bytes]
    """Metadata of the part's outcomes."""


def asked_for(rows: SinkRows, asked: str) -> list[Asked]:
    """The rows that an id stands for: its own, those that it became, or all of a source row.

    Raises:
        UserError: there are none.
        SinkError: the sink can't be read.
    """
    lines = list(rows.outcomes(source_ids_of(asked)))
    known = list(dict.fromkeys(one for _, table in lines for one in table[columns.SOURCE_ID].to_pylist()))
    found: list[Asked] = []
    others: list[str] = []
    for source_id in known:
        for one in _of_source(rows, source_id, lines):
            row_id = one.values[columns.ROW_ID]
            hit = asked in (source_id, row_id) or row_id.startswith(f"{asked}/")
            # A row may have been rejected before it became the one that is asked for.
            early = one.state is not State.ACCEPTED and asked.startswith(f"{row_id}/")
            found += [one] if hit or early else []
            others.append(row_id)
    if not found:
        near = others or list(islice(_all_ids(rows), _NEAR))
        left_out = "; or a filter has left it out" * bool(others)
        raise UserError(f"there is no row {asked!r}{_advice(asked, near)}{left_out}", rows.sink.uri)
    return found


def _of_source(rows: SinkRows, source_id: str, lines: list[tuple[str, pa.Table]]) -> Iterator[Asked]:
    """All that became of a source row."""
    own = {part: table.filter(pc.equal(table[columns.SOURCE_ID], source_id)) for part, table in lines}
    own = {part: table for part, table in own.items() if table.num_rows}
    told = sorted((line for table in own.values() for line in table.to_pylist()), key=lambda line: line["attempt"])
    outputs = sum(line["outputs"] for line in told)
    outcome = {
        "outcome": "ok" if outputs else told[-1]["outcome"],
        "outputs": outputs,
        "rejects": told[-1]["rejects"],
        "attempts": told[-1]["attempt"],
    }

    found = [(State.ACCEPTED, part, table) for part, table in rows.rows_of([source_id])]
    for part in rows.with_rejects(own):
        table = rejects.read(rows.place, part)
        found.append((State.REJECTED, part, table.filter(pc.equal(table[columns.SOURCE_ID], source_id))))
    for part in own:
        data = rows.place.get(f"{FILTERED}/{part}")
        if data is not None:
            table = pq.read_table(pa.BufferReader(data))
            found.append((State.FILTERED, part, table.filter(pc.equal(table[columns.SOURCE_ID], source_id))))
    if not any(table.num_rows for _, _, table in found):
        part, table = next(reversed(own.items()))
        ids = table.select([columns.SOURCE_ID, columns.CONTENT_HASH])
        found = [(State.FILTERED, part, ids.append_column(columns.ROW_ID, ids[columns.SOURCE_ID]))]
    for state, part, table in found:
        # What a table's owner has put together is of no one part.
        noted = own.get(part, next(iter(own.values()))).schema.metadata or {}
        yield from (Asked(state, row, table.schema, part, outcome, noted) for row in table.to_pylist())


def _all_ids(rows: SinkRows) -> Iterator[str]:
    for batch in rows.batches([columns.ROW_ID]):
        yield from batch[columns.ROW_ID].to_pylist()


def _advice(asked: str, near: list[str]) -> str:
    if not near:
        return ", nor any other"
    told = meant(asked, near)
    return told if len(near) <= 5 or "mean" in told else f"; ids here are like {near[0]!r}"
