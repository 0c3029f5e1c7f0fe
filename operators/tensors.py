"""Tensor columns: arrays of any shape, one for every row, in half precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators import columns
from operators.errors import RowError, ValueInvalidError


def pack(arrays: Sequence[NDArray[np.floating]]) -> pa.StructArray:
    """A column of type :data:`operators.columns.TENSOR`; values beyond half precision's range become infinite."""
    halves = [np.ascontiguousarray(array, np.float16).reshape(-1) for array in arrays]
    ends = np.cumsum([0, *map(len, halves)], dtype=np.int32)
    flat = pa.array(np.concatenate([np.empty(0, np.float16), *halves]), pa.float16())
    data = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)
    shapes = pa.array([array.shape for array in arrays], pa.list_(pa.int32()))
    return pa.StructArray.from_arrays([data, shapes], fields=list(columns.TENSOR))


def unpack(column: pa.Array | pa.ChunkedArray) -> list[NDArray[np.float16] | RowError | None]:
    """The arrays of a column, sharing its memory; None for null, and an error where data and shape disagree."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    data, shapes = values.field("data"), values.field("shape").to_pylist()
    return [
        _array(data[row], shapes[row]) if there else None for row, there in enumerate(values.is_valid().to_pylist())
    ]


def _array(data: pa.ListScalar, shape: list[int] | None) -> NDArray[np.float16] | RowError:
    if not data.is_valid or shape is None or None in shape or len(data) != math.prod(shape):
        return ValueInvalidError(f"the tensor has the shape {shape}, but not as many values")
    array: NDArray[np.float16] = data.values.to_numpy(zero_copy_only=False).astype(np.float16, copy=False)
    return array.reshape(shape)
