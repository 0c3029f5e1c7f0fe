"""A sink's rows, counted one by one: by its outcomes and its rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.sink.ledger import REJECTS, outcomes
from jobs.sink.rejects import CODE, standing
from jobs.stores.store import Store

_READERS = 16


@dataclass
class Tally:
    """What became of source rows; all attempts of a row together."""

    rows: int = 0
    """Source rows with an outcome."""
    accepted: int = 0
    """Rows that came out."""
    filtered: int = 0
    """Rows that a filter left out; where they were counted in outcomes, source rows of which nothing was left."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Rows that are rejected now, by code."""

    @property
    def not_rejected(self) -> int:
        """Rows that came out or were filtered."""
        return self.accepted + self.filtered


def tally(store: Store, counted: Sequence[str]) -> Tally:
    """Count all rows of the parts that count.

    Raises:
        SinkError: an object can't be read.
    """
    told = Tally()
    for table in outcomes(store, counted, ["outcome", "outputs", "attempt"]):
        told.rows += pc.sum(pc.equal(table["attempt"], 1)).as_py() or 0
        told.accepted += pc.sum(table["outputs"]).as_py() or 0
        told.filtered += pc.sum(pc.equal(table["outcome"], "filtered")).as_py() or 0
    with ThreadPoolExecutor(_READERS) as pool:
        for codes in pool.map(lambda name: _codes(store, name), standing(store, counted)):
            told.rejected.update(codes)
    return told


def _codes(store: Store, name: str) -> list[str]:
    data = store.get(f"{REJECTS}/{name}")
    # One that is gone was tried again just now.
    if data is None:
        return []
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        codes: list[str] = file.read([CODE], use_threads=False)[CODE].to_pylist()
    return codes
