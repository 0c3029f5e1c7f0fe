"""Rows that did not come out, for a page: some of those that failed with each code, and that each step left out."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa

from jobs.reporting.roles import Roles
from jobs.reporting.sampling import drawn
from jobs.reporting.thumbnails import Thumbnails
from jobs.sink import ledger
from jobs.sink.rejects import CODE
from jobs.sink.rows import SinkRows
from jobs.sink.stored import DamagedError, parquet
from operators import columns
from operators.columns import ROW_ID
from operators.errors import SinkError

_PARTS = 64
"""Of so many parts with such rows a few rows are chosen."""
_EACH = 8
_TEXT = 300
_REASONS = {"step": "_step", "message": "_message", "reason": "_reason", "attempt": "_attempt"}

Shown = dict[str, list[dict[str, Any]]]
"""Some rows by why they did not come out."""


def rejected(rows: SinkRows, thumbnails: Thumbnails) -> Shown:
    """Some rejected rows by code: the same ones each time.

    Raises:
        SinkError: the sink can't be read.
    """
    return _some(rows.rejects(), CODE, columns.ERROR, thumbnails)


def filtered(rows: SinkRows, thumbnails: Thumbnails) -> Shown:
    """Some rows that steps left out, by step; none where they are not kept.

    Raises:
        SinkError: the sink can't be read.
    """
    return _some(_filtered(rows), f"{columns.FILTERED}_step", columns.FILTERED, thumbnails)


def _filtered(rows: SinkRows) -> Iterator[pa.Table]:
    counted = set(rows.parts)
    for name in ledger.parts(rows.place, ledger.FILTERED):
        if name in counted:
            try:
                yield pa.Table.from_batches(parquet(rows.place, f"{ledger.FILTERED}/{name}"))
            except DamagedError as error:
                raise SinkError(f"{ledger.FILTERED}/{name} can't be read ({error})", rows.sink.uri) from error


def _some(tables: Iterable[pa.Table], key: str, why: str, thumbnails: Thumbnails) -> Shown:
    chosen: dict[str, list[tuple[bytes, pa.Table]]] = {}
    for table in islice(tables, _PARTS):
        keys, ids = table[key].to_pylist(), table[ROW_ID].to_pylist()
        for each in sorted({given for given in keys if given is not None}):
            places = [(drawn(ids[at]), at) for at, given in enumerate(keys) if given == each]
            found = [(digest, table.slice(at, 1)) for digest, at in heapq.nsmallest(_EACH, places)]
            chosen[each] = heapq.nsmallest(_EACH, [*chosen.get(each, []), *found], key=lambda one: one[0])
    return {each: [_shown(row, why, thumbnails) for _, row in found] for each, found in chosen.items()}


def _shown(row: pa.Table, why: str, thumbnails: Thumbnails) -> dict[str, Any]:
    roles = Roles.of(row.schema, ())
    (values,) = row.select([name for name in row.schema.names if name not in roles.pictures]).to_pylist()
    pictures = {name: thumbnails.add(row[name].to_pylist())[0] for name in roles.pictures if row[name][0].is_valid}
    return {
        "id": values[ROW_ID],
        **{name: values[f"{why}{ending}"] for name, ending in _REASONS.items() if f"{why}{ending}" in values},
        "pictures": {name: number for name, number in pictures.items() if number is not None},
        "unreadable": [name for name, number in pictures.items() if number is None],
        "texts": _texts({name: values[name] for name in roles.texts if not name.startswith(why)}),
    }


def _texts(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text[:_TEXT] for name, text in values.items() if text}
