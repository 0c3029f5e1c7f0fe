"""How far a value that was made again is from the one that is stored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators import columns
from operators.errors import RowError
from operators.images import decode

LEVELS = 1
"""Of 255, by which pictures may differ that were made in batches of other shapes."""

HALVES = 1e-2
"""By which tensors may differ: they are stored in half precision, whose last place is 1/128 for values of 8 to 16."""

NUMBERS = 1e-3
"""By which numbers may differ, relative to those above 1."""


@dataclass(frozen=True)
class Difference:
    """One column of one row, stored and made again."""

    column: str
    equal: bool
    """To the last byte."""
    within: bool
    """Whether it is within the tolerance."""
    largest: float | None = None
    """Difference: in 8-bit levels of pictures, else in the values' own unit."""
    mean: float | None = None
    told: str = ""
    """What no number tells."""


def compared(field: pa.Field, stored: Any, made: Any) -> Difference:
    """Compare two values of a column, in Python."""
    if columns.is_image(field.type):
        return _encoded(field, stored and stored["bytes"], made and made["bytes"])
    if _same(stored, made):
        return Difference(field.name, True, True)
    if columns.is_tensor(field.type) and stored and made and stored["shape"] == made["shape"]:
        return _numbers(field.name, stored["data"], made["data"], HALVES)
    if _shape(stored) == _shape(made) and _shape(stored) is not None:
        return _numbers(field.name, list(_flat(stored)), list(_flat(made)), NUMBERS, relative=True)
    return Difference(field.name, False, False, told=f"{made!r}, and stored is {stored!r}")


def _encoded(field: pa.Field, stored: bytes | None, made: bytes | None) -> Difference:
    if stored == made:
        return Difference(field.name, True, True)
    if stored is None or made is None:
        return Difference(field.name, False, False, told=f"{'stored' if made is None else 'made'} is one, not both")
    if columns.feature(field) != "Image":
        return Difference(field.name, False, False, told="the recordings' bytes differ")
    try:
        first, second = (np.asarray(decode({"bytes": data, "path": None}), np.int16) for data in (stored, made))
    except RowError as error:
        return Difference(field.name, False, False, told=f"what is stored can't be decoded: {error}")
    if first.shape != second.shape:
        return Difference(field.name, False, False, told=f"{_size(second)}, and stored are {_size(first)}")
    levels = np.abs(first - second)
    largest = float(levels.max(initial=0))
    told = "" if largest else "the same pixels in other bytes"
    return Difference(field.name, False, largest <= LEVELS, largest, float(levels.mean()), told)


def _numbers(name: str, stored: list[Any], made: list[Any], tolerance: float, relative: bool = False) -> Difference:
    first, second = np.array(stored, np.float64), np.array(made, np.float64)
    off = np.abs(first - second)
    allowed = tolerance * np.maximum(1, np.abs(first)) if relative else tolerance
    within = bool((off <= allowed).all())
    return Difference(name, False, within, float(off.max(initial=0)), float(off.mean()))


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first) and math.isnan(second):
        return True
    return bool(first == second)


def _shape(value: Any) -> Any:
    """What two nested values of numbers have in common if they can be subtracted; None of what holds other things."""
    if isinstance(value, dict):
        return {name: _shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_shape(one) for one in value]
    return "number" if isinstance(value, float) else None if value is None else repr(value)


def _flat(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _flat(one)
    elif isinstance(value, float):
        yield value


def _size(pixels: Any) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]} pixels"
