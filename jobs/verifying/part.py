"""One part of a sink: read to the last byte, and held against its own outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from jobs.sink.ledger import OUTCOMES, REJECTS
from jobs.stores.store import Store
from jobs.verifying.listing import Listed
from jobs.verifying.stored import Batches, DamagedError, Stored, parquet
from jobs.verifying.verdict import Code, Fault
from operators import columns

Hashes = NDArray[np.uint64]


@dataclass
class Seen:
    """What the checks of all parts together must know of one part; ids are 64-bit hashes."""

    name: str
    rows: Hashes = field(default_factory=lambda: hashed([]))
    """Row ids, in the order in which they are stored."""
    sources: Hashes = field(default_factory=lambda: hashed([]))
    """Source ids of the outcomes, in their order; ``attempts`` and ``rejects`` are of the same."""
    attempts: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    rejects: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    rejected: Hashes = field(default_factory=lambda: hashed([]))
    """Source ids of the rejected rows."""
    runs: set[str] = field(default_factory=set)
    plans: set[str] = field(default_factory=set)
    schema: pa.Schema | None = None
    objects: int = 0
    faults: list[Fault] = field(default_factory=list)

    def readable(self, where: str) -> bool:
        """Whether an object could be read."""
        return not any(fault.code is Code.UNREADABLE and fault.where == where for fault in self.faults)


@dataclass
class _Rows:
    """What is kept of a part's rows while they are read."""

    ids: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    of_source: Counter[str] = field(default_factory=Counter)
    content: set[tuple[str, str]] = field(default_factory=set)


def hashed(ids: Sequence[str]) -> Hashes:
    """64 bits of a hash for every id."""
    found: Hashes = pd.util.hash_array(np.array(ids, object), categorize=False)
    return found


def inspect(sink: Store, rows: Stored, part: Listed) -> Seen:
    """Read a part's objects whole and compare them; what is damaged or gone is a fault.

    Raises:
        SinkError: the store fails.
    """
    seen = Seen(part.name)
    outcomes = _outcomes(sink, part, seen)
    if not outcomes:
        return seen
    promised = Counter(dict(zip(outcomes[columns.SOURCE_ID], outcomes["outputs"], strict=True)))
    if part.data:
        told = set(zip(outcomes[columns.SOURCE_ID], outcomes[columns.CONTENT_HASH], strict=True))
        _compare(_data(rows, part, seen), promised, told, rows.where(part.name), part, seen)
    elif promised.total():
        what = f"{promised.total():,} rows are gone with it"
        seen.faults.append(Fault.about(Code.DATA_MISSING, what, rows.where(part.name), part.remedy, [*+promised]))
    if part.rejects:
        where = f"{REJECTS}/{part.name}"
        batches = _whole(parquet(sink, where), where, part, seen)
        seen.rejected = hashed([i for batch in batches for i in batch[columns.SOURCE_ID].to_pylist()])
        if not seen.readable(where):
            seen.rejected, seen.rejects = hashed([]), np.zeros_like(seen.rejects)
    return seen


def row_ids(rows: Stored, name: str) -> list[str]:
    """The ids of a part's rows, in the order in which they are stored."""
    return [i for batch in rows.batches(name) for i in batch[columns.ROW_ID].to_pylist()]


def source_ids(sink: Store, name: str) -> list[str]:
    """The source ids of a part's outcomes, in their order."""
    return [i for batch in parquet(sink, f"{OUTCOMES}/{name}") for i in batch[columns.SOURCE_ID].to_pylist()]


def _whole(batches: Batches, where: str, part: Listed, seen: Seen) -> Batches:
    """An object's batches; where it is damaged, those before the damage, and a fault."""
    seen.objects += 1
    try:
        yield from batches
    except DamagedError as error:
        seen.faults.append(Fault.about(Code.UNREADABLE, str(error), where, part.remedy))


def _outcomes(sink: Store, part: Listed, seen: Seen) -> dict[str, list[str]]:
    where = f"{OUTCOMES}/{part.name}"
    batches = list(_whole(parquet(sink, where), where, part, seen))
    lines: dict[str, list[str]] = pa.Table.from_batches(batches).to_pydict() if seen.readable(where) else {}
    if lines:
        seen.sources = hashed(lines[columns.SOURCE_ID])
        seen.attempts, seen.rejects = (np.array(lines[name], np.int32) for name in ("attempt", "rejects"))
    return lines


def _data(stored: Stored, part: Listed, seen: Seen) -> _Rows:
    rows = _Rows()
    for batch in _whole(stored.batches(part.name), stored.where(part.name), part, seen):
        seen.schema = batch.schema
        # A column that is not there is as bad as one without values.
        there = [name for name in columns.LINEAGE.names if name in batch.schema.names]
        lineage = {name: [None] * batch.num_rows for name in columns.LINEAGE.names} | batch.select(there).to_pydict()
        ids, sources = lineage[columns.ROW_ID], lineage[columns.SOURCE_ID]
        rows.incomplete += [str(row[0]) for row in zip(*lineage.values(), strict=True) if None in row]
        rows.ids += map(str, ids)
        rows.of_source.update(sources)
        rows.content |= set(zip(sources, lineage[columns.CONTENT_HASH], strict=True))
        seen.runs.update(lineage[columns.RUN_ID])
        seen.plans.update(lineage[columns.PLAN])
    return rows


def _compare(
    rows: _Rows, promised: Counter[str], told: set[tuple[str, str]], where: str, part: Listed, seen: Seen
) -> None:
    if not seen.readable(where):
        return
    seen.rows = hashed(rows.ids)
    wrong = [i for i in rows.of_source.keys() | promised.keys() if rows.of_source[i] != promised[i]]
    differing = [i for i, content in rows.content - told if i in promised]
    for code, what, ids in (
        (Code.LINEAGE_INCOMPLETE, "rows lack a value of their lineage", rows.incomplete),
        (Code.OUTPUTS_DISAGREE, "source rows have other numbers of rows than their outcomes say", wrong),
        (Code.CONTENT_DIFFERS, "source rows have another content hash than in their outcomes", differing),
    ):
        if ids:
            counted = f"{len(ids):,} {what}"
            seen.faults.append(Fault.about(code, counted, where, part.remedy, [str(i) for i in ids]))
