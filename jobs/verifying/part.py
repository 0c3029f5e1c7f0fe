"""One part of a sink: read to the last byte, and held against its own outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from jobs.sink.ledger import FILTERED, FILTERED_ROWS, OUTCOMES, REJECTS
from jobs.sink.stored import Batches, DamagedError, Stored, parquet
from jobs.stores.store import Store
from jobs.verifying.listing import Listed
from jobs.verifying.verdict import Code, Fault
from operators import columns

Hashes = NDArray[np.uint64]

RESTORE = "restore a version of the table from before it was changed by hand, or make the rows anew with `--overwrite`"


@dataclass
class Seen:
    """What the checks of all parts together must know of one part; ids are 64-bit hashes."""

    name: str
    rows: Hashes = field(default_factory=lambda: hashed([]))
    """Row ids, in the order in which they are stored; ``rows_sources`` and ``rows_contents`` are of the same."""
    rows_sources: Hashes = field(default_factory=lambda: hashed([]))
    rows_contents: Hashes = field(default_factory=lambda: hashed([]))
    """Source ids with content hashes."""
    sources: Hashes = field(default_factory=lambda: hashed([]))
    """Source ids of the outcomes, in their order; all below are of the same."""
    contents: Hashes = field(default_factory=lambda: hashed([]))
    """Source ids with content hashes."""
    outputs: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    attempts: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    rejects: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    rejected: Hashes = field(default_factory=lambda: hashed([]))
    """Source ids of the rejected rows."""
    filtered: int | None = None
    """How many rows that were left out the outcomes tell of; None where these were not to be kept."""
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
    content: list[tuple[str, str]] = field(default_factory=list)
    """Each row's source id and content hash."""


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
    if outcomes is None:
        return seen
    promised = Counter(dict(zip(outcomes[columns.SOURCE_ID], outcomes["outputs"], strict=True)))
    if part.data:
        content = _data(rows, part, seen)
        # What may be of this part and lie elsewhere is for :mod:`jobs.verifying.whole` to count.
        if not rows.mixed and seen.readable(rows.where(part.name)):
            told = set(zip(outcomes[columns.SOURCE_ID], outcomes[columns.CONTENT_HASH], strict=True))
            _compare(content, promised, told, rows.where(part.name), part, seen)
    elif promised.total() and not rows.mixed:
        what = f"{promised.total():,} rows are gone with it"
        seen.faults.append(Fault.about(Code.DATA_MISSING, what, rows.where(part.name), part.remedy, [*+promised]))
    _filtered(sink, part, seen)
    if part.rejects:
        where = f"{REJECTS}/{part.name}"
        batches = _whole(parquet(sink, where), where, part, seen)
        seen.rejected = hashed([i for batch in batches for i in batch[columns.SOURCE_ID].to_pylist()])
        if not seen.readable(where):
            seen.rejected, seen.rejects = hashed([]), np.zeros_like(seen.rejects)
    return seen


def inspect_mixed(rows: Stored, name: str) -> Seen:
    """Read what holds rows of any part; what is damaged is a fault.

    Raises:
        SinkError: the store fails.
    """
    seen = Seen(name)
    _data(rows, Listed(name, data=True, rejects=False, filtered=False, remedy=RESTORE), seen)
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


def _outcomes(sink: Store, part: Listed, seen: Seen) -> dict[str, list[Any]] | None:
    """A part's outcomes, none if all its source rows were made again since; None where they are damaged."""
    where = f"{OUTCOMES}/{part.name}"
    counts = ("outputs", "attempt", "rejects")
    lines: dict[str, list[Any]] = {name: [] for name in (columns.SOURCE_ID, columns.CONTENT_HASH, *counts)}
    for batch in _whole(parquet(sink, where), where, part, seen):
        told = (batch.schema.metadata or {}).get(FILTERED_ROWS.encode())
        seen.filtered = None if told is None else int(told)
        for name, values in lines.items():
            values += batch[name].to_pylist()
    if not seen.readable(where):
        return None
    seen.sources = hashed(lines[columns.SOURCE_ID])
    seen.contents = _both(zip(lines[columns.SOURCE_ID], lines[columns.CONTENT_HASH], strict=True))
    seen.outputs, seen.attempts, seen.rejects = (np.array(lines[name], np.int32) for name in counts)
    return lines


def _data(stored: Stored, part: Listed, seen: Seen) -> list[tuple[str, str]]:
    """Read rows; what is left for comparing is each one's source id and content hash."""
    rows, where = _Rows(), stored.where(part.name)
    for batch in _whole(stored.batches(part.name), where, part, seen):
        seen.schema = batch.schema
        # A column that is not there is as bad as one without values.
        there = [name for name in columns.LINEAGE.names if name in batch.schema.names]
        lineage = {name: [None] * batch.num_rows for name in columns.LINEAGE.names} | batch.select(there).to_pydict()
        rows.incomplete += [str(row[0]) for row in zip(*lineage.values(), strict=True) if None in row]
        rows.ids += map(str, lineage[columns.ROW_ID])
        rows.content += zip(lineage[columns.SOURCE_ID], lineage[columns.CONTENT_HASH], strict=True)
        seen.runs.update(lineage[columns.RUN_ID])
        seen.plans.update(lineage[columns.PLAN])
    if seen.readable(where):
        seen.rows, seen.rows_contents = hashed(rows.ids), _both(rows.content)
        seen.rows_sources = hashed([str(source) for source, _ in rows.content])
        if rows.incomplete:
            what = f"{len(rows.incomplete):,} rows lack a value of their lineage"
            seen.faults.append(Fault.about(Code.LINEAGE_INCOMPLETE, what, where, part.remedy, rows.incomplete))
    return rows.content


def _filtered(sink: Store, part: Listed, seen: Seen) -> None:
    """Rows that were left out are no more than notes: what matters is that they are there, and whole."""
    where = f"{FILTERED}/{part.name}"
    if not part.filtered and seen.filtered:
        what = f"{seen.filtered:,} rows that were left out are gone with it"
        seen.faults.append(Fault.about(Code.DATA_MISSING, what, where, part.remedy))
    if part.filtered:
        rows = sum(batch.num_rows for batch in _whole(parquet(sink, where), where, part, seen))
        if seen.readable(where) and rows != seen.filtered:
            what = f"{rows:,} rows were left out, and the outcomes say {seen.filtered or 0:,}"
            seen.faults.append(Fault.about(Code.FILTERED_DISAGREE, what, where, part.remedy))


def _both(pairs: Iterable[tuple[str, str]]) -> Hashes:
    return hashed([f"{source}\0{content}" for source, content in pairs])


def _compare(
    content: list[tuple[str, str]],
    promised: Counter[str],
    told: set[tuple[str, str]],
    where: str,
    part: Listed,
    seen: Seen,
) -> None:
    of_source = Counter(source for source, _ in content)
    wrong = [i for i in of_source.keys() | promised.keys() if of_source[i] != promised[i]]
    differing = [i for i, _ in set(content) - told if i in promised]
    for code, what, ids in (
        (Code.OUTPUTS_DISAGREE, "source rows have other numbers of rows than their outcomes say", wrong),
        (Code.CONTENT_DIFFERS, "source rows have another content hash than in their outcomes", differing),
    ):
        if ids:
            counted = f"{len(ids):,} {what}"
            seen.faults.append(Fault.about(code, counted, where, part.remedy, [str(i) for i in ids]))
