"""The tree from a row to its source's bytes: what it is, the run and the steps that made it, where it was read from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from jobs.lineage.asked import Asked, State, asked_for
from jobs.lineage.steps import Step, steps_of
from jobs.lineage.upstream import LostError, looks_written, row_at, sink_at
from jobs.sink import ledger
from jobs.sink.rows import SinkRows
from jobs.stores.store import Store
from operators import columns
from operators.errors import UserError

_MARKS = {State.REJECTED: columns.ERROR, State.FILTERED: columns.FILTERED}
_REASON = ("step", "code", "message", "attempt", "reason")
_ABOUT = ("run_id", "epoch", "mode", "state", "started", "ended", "fingerprint", "packages")


Path = tuple[tuple[str, str], ...]
"""Sinks and ids of the rows that lead to a row."""


@dataclass(frozen=True)
class Origin:
    """The source row that a row was made of."""

    uri: str
    source_id: str
    content_hash: str
    """BLAKE2b-128 of the source row's values."""
    row: Tree | None = None
    """That row's own tree, where the source is the sink of another job."""
    note: str | None = None
    """Why there is none, where there should be."""


@dataclass(frozen=True)
class Tree:
    """A row, and all that it came of."""

    sink: str
    row_id: str
    state: State
    part: str
    """The object or folder with the row, in the sink."""
    outcome: dict[str, Any]
    """What became of its source row."""
    ended: dict[str, Any] | None
    """Where and why it was rejected or left out, if it was: step, and code, message and attempt, or reason."""
    seed: int | None
    values: dict[str, Any]
    """Its columns; of pictures their size in bytes and SHA-256, of tensors the shape."""
    run: dict[str, Any]
    steps: list[Step]
    source: Origin
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The tree by name."""
        return asdict(self)


def lineage(sink: Store, asked: str) -> list[Tree]:
    """The trees of the rows that an id stands for; see :func:`jobs.lineage.asked.asked_for`.

    Raises:
        UserError: no job has written here, there is no such row, or the sink can't be read.
    """
    return _trees(SinkRows.of(sink), asked, ())


def _trees(rows: SinkRows, asked: str, below: Path) -> list[Tree]:
    return [_tree(rows, one, below) for one in asked_for(rows, asked)]


def _tree(rows: SinkRows, one: Asked, below: Path) -> Tree:
    row, notes = one.values, []
    run_id = row.get(columns.RUN_ID) or _run_of(rows, one.part)
    record = rows.runs.get(run_id, {})
    if not record:
        notes.append(f"there is no record of run {run_id}, so nothing more can be told of it")
    ended = {key: row[name] for key in _REASON if (name := f"{_MARKS.get(one.state)}_{key}") in row} or None
    steps = list(steps_of(record, row, ended["step"] if ended else None, one.noted)) if record else []
    if one.state is State.FILTERED and ended is None:
        notes.append("a step left it out; which one, and what the row was by then, is not kept")
    here = (rows.sink.uri, row[columns.ROW_ID])
    return Tree(
        sink=rows.sink.uri,
        row_id=row[columns.ROW_ID],
        state=one.state,
        part=_where(rows, one),
        outcome=dict(one.outcome),
        ended=ended,
        seed=row.get(columns.SEED),
        values=_values(row, one.schema),
        run=_about(record, run_id),
        steps=steps,
        source=_origin(row, record, (*below, here)),
        notes=notes,
    )


def _origin(row: Mapping[str, Any], record: Mapping[str, Any], below: Path) -> Origin:
    uri = row.get(columns.SOURCE_URI) or record.get("source", "")
    source_id, content = row[columns.SOURCE_ID], row[columns.CONTENT_HASH]
    try:
        above = _above(uri, source_id, record.get("job", {}).get("source", {}), below)
    except LostError as error:
        return Origin(uri, source_id, content, note=str(error))
    except UserError as error:
        lost = f"it is the sink of another job, and this row can't be followed there: {error}"
        return Origin(uri, source_id, content, note=lost)
    return Origin(uri, source_id, content, above)


def _above(uri: str, source_id: str, source: Mapping[str, Any], below: Path) -> Tree | None:
    """The tree of the row that a source row is in its own sink, if the source is one."""
    store = sink_at(uri)
    if store is None:
        if looks_written(source_id):
            raise LostError("it was the sink of another job, and is gone or has lost its record")
        return None
    rows = SinkRows.of(store)
    row_id = row_at(rows, source_id, source)
    if (store.uri, row_id) in below:
        raise LostError(f"{row_id} of {store.uri} comes of itself: the sinks are each other's source")
    return next((tree for tree in _trees(rows, row_id, below) if tree.row_id == row_id), None)


def _run_of(rows: SinkRows, part: str) -> str:
    start = ledger.entry(rows.sink, ledger.epoch_of(part))
    return "" if start is None else start.run_id


def _where(rows: SinkRows, one: Asked) -> str:
    match one.state:
        case State.ACCEPTED:
            return rows.where(one.part)
        case State.REJECTED:
            return f"{ledger.REJECTS}/{one.part}"
        case State.FILTERED:
            folder = ledger.FILTERED if columns.RUN_ID in one.values else ledger.OUTCOMES
            return f"{folder}/{one.part}"


def _about(record: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    told = {"run_id": run_id} | {name: record[name] for name in _ABOUT if name in record}
    if record:
        told["job"] = record["job"].get("name")
        told["host"] = record.get("holder", {}).get("host")
        told["machines"] = record.get("summary", {}).get("machines", [])
    return told


def _values(row: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    ours = tuple(_MARKS.values())
    own = [field for field in schema if field.name not in columns.RESERVED and not field.name.startswith(ours)]
    return {field.name: _value(row[field.name], field.type) for field in own}


def _value(value: Any, kind: pa.DataType) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if columns.is_image(kind):
        return {"path": value["path"]} | _bytes(value["bytes"])
    if columns.is_tensor(kind):
        return {"shape": value["shape"]}
    if isinstance(value, bytes):
        return _bytes(value)
    return value if pa.types.is_nested(kind) else str(value)


def _bytes(data: bytes | None) -> dict[str, Any]:
    return {} if data is None else {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
