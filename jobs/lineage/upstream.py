"""Where a source is the sink of another job: the row of that sink which a source row is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jobs.formats import SinkFormat, naming
from jobs.sink import ledger
from jobs.sink.rows import SinkRows
from jobs.stores.store import Store
from operators.columns import ROW_ID
from operators.errors import SinkError

_LEVELS = 3
"""From a part's file to its sink: a source may be the sink, its folder of rows, or a file or glob in there."""

_NO_FOLDER = re.compile(r"(https?|hf|builtin):|\w+$")
"""Sources that are no sink: of the web, of the hub, rendered, or an object in Python."""


class LostError(Exception):
    """The row can't be followed any further; the message says why."""


def sink_at(uri: str) -> Store | None:
    """The sink that a source's URI means, or lies in; None where there is none."""
    if _NO_FOLDER.match(uri):
        return None
    # As a person names it, so that one sink is known by one name.
    place = uri.removeprefix("file://").rstrip("/")
    for _ in range(_LEVELS):
        try:
            store = Store.at(place)
            if store.names(ledger.EPOCHS):
                return store
        except SinkError:
            return None
        place = place.rpartition("/")[0]
        if place.endswith(("/", ":")) or not place:
            return None
    return None


def looks_written(source_id: str) -> bool:
    """Whether an id begins with the file of a part, as ids in a sink do."""
    return _part_in(source_id) is not None


def row_at(rows: SinkRows, source_id: str, source: Mapping[str, Any]) -> str:
    """The id that a source row has in the sink that it was read from.

    Args:
        rows: of that sink.
        source_id: what the reading job calls the row.
        source: the options of its source.

    Raises:
        LostError: the sink has no such row any longer.
        SinkError: the sink can't be read.
    """
    if source.get("id"):
        return _by_column(rows, source["id"], source_id)
    if rows.format is SinkFormat.LANCE:
        return source_id
    stem = _part_in(source_id)
    name = next((name for name in rows.parts if ledger.stem(name) == stem), None)
    if name is None:
        raise LostError(f"its rows of then are no longer there: no part {stem} counts any more")
    ids = [row_id for batch in rows.part(name, [ROW_ID]) for row_id in batch[ROW_ID].to_pylist()]
    path, _, mark = source_id.rpartition("#")
    if mark.isdecimal() and path and rows.format is not SinkFormat.WEBDATASET:
        return str(ids[int(mark)])
    key = mark if rows.format is SinkFormat.WEBDATASET else source_id.rpartition("/")[2].partition(".")[0]
    for row_id in ids:
        if naming.key(row_id) == key:
            return str(row_id)
    raise LostError(f"there is no row {source_id} any longer")


def _by_column(rows: SinkRows, column: str, value: str) -> str:
    if column == ROW_ID:
        return value
    for batch in rows.batches([column, ROW_ID]):
        for given, row_id in zip(batch[column].to_pylist(), batch[ROW_ID].to_pylist(), strict=True):
            if str(given) == value:
                return str(row_id)
    raise LostError(f"no row has {value!r} in the column {column!r} any longer")


def _part_in(source_id: str) -> str | None:
    pieces = (piece.partition("#")[0] for piece in source_id.split("/"))
    return next((ledger.stem(piece) for piece in pieces if ledger.is_part(piece)), None)
