"""Whether a pipeline is right with batches: found out by trying, as several take them and silently mix rows up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from operators.pipeline.arguments import Row, altered

Outputs = Sequence[NDArray[np.floating[Any]]]
Call = Callable[[Sequence[Row]], Outputs]

_REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What pipelines raise on arguments that they can't take."""

_ROUNDING = 1e-4
_ROUNDING_OF_HALVES = 0.05
"""What sums of another order make of outputs after a few steps; rows that get mixed up differ by far more."""


def batches_are_right(short: Call, whole: Call, row: Row, exact: bool) -> bool:
    """Whether a row and an altered one come out of one call as each comes out of its own.

    Args:
        short: calls the pipeline with few steps.
        whole: calls it with as many as are asked for; used where it can't do with few.
        row: any row.
        exact: whether the networks compute in true single precision.

    Raises:
        Exception: what the pipeline raises on the row alone.
    """
    rows = (row, altered(row))
    try:
        call, alone = short, [short([each])[0] for each in rows]
    except _REFUSALS:
        call, alone = whole, [whole([each])[0] for each in rows]
    try:
        together = call(rows)
    except torch.OutOfMemoryError:
        raise
    except _REFUSALS:
        return False
    bound = _ROUNDING if exact else _ROUNDING_OF_HALVES
    return all(_near(ours, theirs, bound) for ours, theirs in zip(together, alone, strict=True))


def _near(ours: NDArray[np.floating[Any]], theirs: NDArray[np.floating[Any]], bound: float) -> bool:
    if ours.shape != theirs.shape:
        return False
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    return bool(np.abs(ours - theirs).max(initial=0) <= bound * scale)
