"""Rejected rows, read back from their sink: the input that they had, and which of them are to be tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.sink.attempts import retried
from jobs.sink.ledger import REJECTS, parts
from jobs.stores.store import Store
from operators import Spec, columns
from operators.errors import SinkError
from operators.failures import line

CODE, ATTEMPT = f"{columns.ERROR}_code", f"{columns.ERROR}_attempt"
_REASON = frozenset([f"{columns.ERROR}_step", CODE, f"{columns.ERROR}_message", ATTEMPT])


def standing(store: Store, counted: Sequence[str]) -> list[str]:
    """Parts whose rejected rows have not been tried again, of those that count."""
    settled = retried(counted)
    there = set(counted) - settled.keys()
    return [name for name in parts(store, REJECTS) if name in there]


def read(store: Store, name: str, needed: list[str] | None = None) -> pa.Table:
    """The rejected rows of a part.

    Raises:
        SinkError: they are gone, or can't be read.
    """
    data = store.get(f"{REJECTS}/{name}")
    if data is None:
        raise SinkError(f"{REJECTS}/{name} vanished while it was read; another run may have taken over", store.uri)
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            return file.read(needed, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        advice = f"`latentmill verify {store.uri}` says what to do"
        raise SinkError(f"{REJECTS}/{name} is damaged ({line(error)}); {advice}", store.uri) from error


def source_schema(rejected: pa.Schema, steps: Sequence[Spec]) -> pa.Schema:
    """The columns that the source gave to rows of a schema that steps, lineage and a reason have added to."""
    added = {name for step in steps for name in step.writes()} | _REASON | {*columns.LINEAGE.names}
    return pa.schema([_as_read(field) for field in rejected if field.name not in added])


def _as_read(field: pa.Field) -> pa.Field:
    """Without what the file says of the field alone."""
    kept = {key: value for key, value in (field.metadata or {}).items() if not key.startswith(b"PARQUET:")}
    return field.with_metadata(kept or None)


@dataclass(frozen=True)
class Chosen:
    """Which source rows are tried again: those of which some row was rejected with ``code``; all if None."""

    code: str | None = None

    def ids(self, rejected: pa.Table) -> list[str]:
        """Their ids, each once."""
        if self.code is not None:
            rejected = rejected.filter(pc.equal(rejected[CODE], self.code))
        return list(dict.fromkeys(rejected[columns.SOURCE_ID].to_pylist()))

    def first(self, store: Store, names: Sequence[str], limit: int | None) -> Iterator[tuple[str, int | None]]:
        """The parts with the first ``limit`` of these rows, and how many of each; None for all of them."""
        if limit is None:
            yield from ((name, None) for name in names)
            return
        for name in names:
            rows = min(limit, len(self.ids(read(store, name, [columns.SOURCE_ID, CODE]))))
            if rows:
                yield name, rows
            limit -= rows
            if not limit:
                return


def by_code(rejected: pa.Table) -> Counter[str]:
    """How many rows were rejected with each code."""
    return Counter(rejected[CODE].to_pylist())
