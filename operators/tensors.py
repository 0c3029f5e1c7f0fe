"""Tensor columns: arrays of any shape, one for every row, in half precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators import columns


def pack(arrays: Sequence[NDArray[np.floating]]) -> pa.StructArray:
    """A column of type :data:`operators.columns.TENSOR`; values beyond half precision's range become infinite."""
    halves = [np.ascontiguousarray(array, np.float16).reshape(-1) for array in arrays]
    ends = np.cumsum([0, *map(len, halves)], dtype=np.int32)
    flat = pa.array(np.concatenate([np.empty(0, np.float16), *halves]), pa.float16())
    data = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)
    shapes = pa.array([array.shape for array in arrays], pa.list_(pa.int32()))
    return pa.StructArray.from_arrays([data, shapes], fields=list(columns.TENSOR))


def unpack(column: pa.Array | pa.ChunkedArray) -> list[NDArray[np.float16] | None]:
    """The arrays of a column, None for null; they share the column's memory."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    there = values.is_valid().to_pylist()
    shapes = values.field("shape").to_pylist()
    data = values.field("data")
    return [data[row].values.to_numpy().reshape(shapes[row]) if there[row] else None for row in range(len(values))]
