"""Which rows are shown of a sink of any size: always the same ones, chosen by hashes of their ids and parts' names."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from jobs.sink.rows import SinkRows
from operators.columns import ROW_ID

_PARTS = 8
"""So many are read at the least, if there are as many, so that rows come from several files."""


def drawn(name: str) -> bytes:
    """A name's place among others: names with the smallest are taken."""
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


@dataclass(frozen=True)
class Sample:
    """Some rows of some parts."""

    parts: list[str]
    of_parts: int
    ids: list[str]
    complete: bool
    """Whether these are all rows that there are."""

    def batches(self, rows: SinkRows, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows, as they are stored.

        Raises:
            SinkError: they can't be read.
        """
        wanted = pa.array(self.ids, pa.string())
        for part in self.parts:
            for batch in rows.part(part, columns):
                chosen = batch.filter(pc.is_in(batch[ROW_ID], wanted))
                if chosen.num_rows:
                    yield chosen


def sample(rows: SinkRows, most: int) -> Sample:
    """Choose rows: parts by the hash of their names until there are enough, in them rows by the hash of their ids.

    Raises:
        SinkError: the sink can't be read.
    """
    ordered = sorted(rows.holders, key=drawn)
    read, ids = list[str](), list[str]()
    for part in ordered:
        if len(read) >= _PARTS and len(ids) >= most:
            break
        read.append(part)
        ids += [row_id for batch in rows.part(part, [ROW_ID]) for row_id in batch[ROW_ID].to_pylist()]
    complete = len(read) == len(ordered) and len(ids) <= most
    return Sample(read, len(ordered), heapq.nsmallest(most, ids, key=drawn), complete)
