"""Which source rows are done and what became of them: 32 bytes a row, asked for many at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from operators.columns import SOURCE_ID

COLUMNS = (SOURCE_ID, "outputs", "rejects", "attempt", "version")
"""Columns of outcomes that :meth:`DoneRows.of` reads."""

_HASH_KEYS = ("latentmill: high", "latentmill:  low")
_TABLES_AT_ONCE = 256
_LOW_HALF = (1 << 32) - 1


@dataclass(frozen=True)
class DoneRows:
    """A set of ids, kept as two 64-bit hashes each, in the order of the first. All arrays have shape ``(n,)``."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    outputs: NDArray[np.int32]
    """Rows that a source row became, in all attempts together."""
    rejects: NDArray[np.int32]
    """Rows that were rejected in the newest attempt."""
    version: NDArray[np.int64]
    """What was known of the row when it was done, as a hash."""

    @classmethod
    def of(cls, tables: Iterable[pa.Table]) -> DoneRows:
        """Collect outcomes, with :data:`COLUMNS`; a row that was tried again has one line for every attempt."""
        collected: list[list[NDArray[Any]]] = [[], [], [], [], []]
        for table in _batched(iter(tables)):
            attempt, rejects = (table[name].to_numpy().astype(np.int64) for name in ("attempt", "rejects"))
            known = table["outputs"].to_numpy(), attempt << 32 | rejects, table["version"].to_numpy()
            arrays = *_hashed(table[SOURCE_ID]), *known
            for column, array in zip(collected, arrays, strict=True):
                column.append(array)
        if not collected[0]:
            hashes, counts = np.empty(0, np.uint64), np.empty(0, np.int32)
            return cls(hashes, hashes, counts, counts, np.empty(0, np.int64))
        order = np.argsort(np.concatenate(collected[0]))
        high, low, outputs, tried, version = (_emptied(column)[order] for column in collected)
        other = np.append(True, (high[1:] != high[:-1]) | (low[1:] != low[:-1]))
        first = np.flatnonzero(other)
        newest = np.maximum.reduceat(tried, first) & _LOW_HALF
        return cls(
            high[first],
            low[first],
            np.add.reduceat(outputs, first),
            newest.astype(np.int32),
            # A row that was tried again was not looked at in the source: its version is 0 then.
            np.maximum.reduceat(version, first),
        )

    def __len__(self) -> int:
        return len(self.high)

    def find(self, ids: pa.ChunkedArray) -> NDArray[np.intp]:
        """Where each of these ids is in the arrays; -1 for one that is not done."""
        found = np.full(len(ids), -1, np.intp)
        if not len(self):
            return found
        high, low = _hashed(ids)
        # Neighbouring questions find what they need in the processor's cache.
        order = np.argsort(high)
        at = np.empty(len(ids), np.intp)
        at[order] = np.searchsorted(self.high, high[order])
        asked = np.arange(len(ids))
        while len(asked):
            asked = asked[at[asked] < len(self)]
            asked = asked[self.high[at[asked]] == high[asked]]
            same = self.low[at[asked]] == low[asked]
            found[asked[same]] = at[asked[same]]
            asked = asked[~same]
            at[asked] += 1
        return found

    def counts(self, found: NDArray[np.intp]) -> dict[str, int]:
        """What became of some of the rows: ``rows`` of the source, ``rejected`` and ``not_rejected`` ones."""
        outputs, rejects = self.outputs[found], self.rejects[found]
        filtered = int(np.count_nonzero((outputs == 0) & (rejects == 0)))
        return {
            "rows": len(found),
            "rejected": int(rejects.sum(dtype=np.int64)),
            "not_rejected": int(outputs.sum(dtype=np.int64)) + filtered,
        }


def _batched(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    while some := list(islice(tables, _TABLES_AT_ONCE)):
        yield pa.concat_tables(some)


def _hashed(ids: pa.ChunkedArray) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    texts = ids.to_numpy()
    high, low = (pd.util.hash_array(texts, hash_key=key, categorize=False) for key in _HASH_KEYS)
    return high, low


def _emptied(chunks: list[NDArray[Any]]) -> NDArray[Any]:
    """All chunks as one array; the list lets go of them."""
    joined = np.concatenate(chunks)
    chunks.clear()
    return joined
