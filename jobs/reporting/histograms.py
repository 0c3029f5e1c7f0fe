"""How numbers are distributed: over all rows where reading their columns alone is cheap, or over many of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.formats import SinkFormat
from jobs.reporting.sampling import drawn
from jobs.sink.rows import SinkRows

_BINS = 28
_PARTS = 1000
"""Of more parts only so many are read."""
_READERS = 16


@dataclass(frozen=True)
class Histogram:
    """Counts of one column's values."""

    edges: list[float]
    """Of the bins, one more than there are."""
    counts: list[int]
    missing: int
    """Rows without a value, or with none that is finite."""
    mean: float
    median: float


@dataclass(frozen=True)
class Histograms:
    """Those of several columns, and what they are over."""

    of: dict[str, Histogram]
    rows: int
    parts: int
    of_parts: int

    def as_json(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


def histograms(rows: SinkRows, names: Sequence[str], sampled: Sequence[str]) -> Histograms:
    """Read number columns.

    Args:
        rows: the sink.
        names: the columns.
        sampled: parts to be content with where a column can't be read without the rest of a part.

    Raises:
        SinkError: the sink can't be read.
    """
    holders = rows.holders
    whole = rows.format is SinkFormat.WEBDATASET
    parts = list(sampled) if whole or not names else sorted(holders, key=drawn)[:_PARTS]

    def read(part: str) -> list[pa.RecordBatch]:
        return list(rows.part(part, names))

    with ThreadPoolExecutor(_READERS) as pool:
        found = [batch for batches in pool.map(read, parts if names else ()) for batch in batches]
    count = sum(batch.num_rows for batch in found)
    counted = {name: _counted(_values(found, name), count) for name in names}
    return Histograms({name: made for name, made in counted.items() if made}, count, len(parts), len(holders))


def _values(batches: Sequence[pa.RecordBatch], name: str) -> NDArray[np.float64]:
    columns = [batch[name].cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) for batch in batches]
    values = np.concatenate([*columns, np.zeros(0)])
    return np.asarray(values[np.isfinite(values)], np.float64)


def _counted(values: NDArray[np.float64], rows: int) -> Histogram | None:
    """None where no row has a value."""
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    whole = bool((values == np.floor(values)).all()) and high - low < _BINS
    edges = np.arange(low, high + 2) if whole else np.linspace(low, high, _BINS + 1)
    counts, edges = np.histogram(values, edges if high > low else [low, low + 1])
    missing, middle = rows - len(values), float(np.median(values))
    return Histogram(edges.tolist(), counts.tolist(), missing, float(values.mean()), middle)
