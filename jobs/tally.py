"""A sink's rows, counted one by one: by its outcomes and its rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.attempts import retried
from jobs.ledger import REJECTS, outcomes, parts
from jobs.storage import Store
from operators.columns import ERROR

_READERS = 16
_CODE = f"{ERROR}_code"


@dataclass
class Tally:
    """What became of source rows; all attempts of a row together."""

    rows: int = 0
    """Source rows with an outcome."""
    not_rejected: int = 0
    """Rows that came out, and source rows of which a filter left nothing."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Rows that are rejected now, by code."""


def tally(store: Store, counted: Sequence[str]) -> Tally:
    """Count all rows of the parts that count.

    Raises:
        SinkError: an object can't be read.
    """
    told = Tally()
    for table in outcomes(store, counted, ["outcome", "outputs", "attempt"]):
        told.rows += pc.sum(pc.equal(table["attempt"], 1)).as_py() or 0
        told.not_rejected += pc.sum(table["outputs"]).as_py() or 0
        told.not_rejected += pc.sum(pc.equal(table["outcome"], "filtered")).as_py() or 0
    with ThreadPoolExecutor(_READERS) as pool:
        for codes in pool.map(lambda name: _codes(store, name), rejects(store, counted)):
            told.rejected.update(codes)
    return told


def rejects(store: Store, counted: Sequence[str]) -> list[str]:
    """Parts whose rejected rows were not tried again yet, of those that count."""
    settled = retried(counted)
    open_ = set(counted) - settled.keys()
    return [name for name in parts(store, REJECTS) if name in open_]


def _codes(store: Store, name: str) -> list[str]:
    data = store.get(f"{REJECTS}/{name}")
    # One that is gone was tried again just now.
    return [] if data is None else pq.read_table(pa.BufferReader(data), columns=[_CODE])[_CODE].to_pylist()
