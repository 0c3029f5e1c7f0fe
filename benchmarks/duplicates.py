"""Rows that look alike, found among many: perceptual hashes, random but for a fifth, which are near another one.

seconds          to group them at a distance of 4 bits
bytes_a_row      memory at the most, beside the hashes
left_out         share that counts as the same as an earlier row
"""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import common
import numpy as np

from operators.likeness import Keys, same

BITS = 4
COPIES = 5
"""One row in so many is two bits away from another one."""


def measure(quick: bool) -> dict[str, Any]:
    """The figures, with the number of rows behind them."""
    rows = 100_000 if quick else 1_000_000
    keys = words(rows, np.random.default_rng(0))
    began = time.perf_counter()
    groups = same(keys, BITS)
    seconds = time.perf_counter() - began
    tracemalloc.start()
    same(keys, BITS)
    peak = tracemalloc.get_traced_memory()[1]
    left_out = float((groups != np.arange(rows)).mean())
    return {
        "seconds": round(seconds, 2),
        "bytes_a_row": round(peak / rows),
        "left_out": round(left_out, 4),
        "rows": rows,
    }


def words(rows: int, rng: np.random.Generator) -> Keys:
    """Hashes of so many rows."""
    made = rng.integers(0, 2**64, rows, np.uint64)
    copies = rows // COPIES
    flips = np.uint64(1) << rng.integers(0, 64, (2, copies), np.uint64)
    made[-copies:] = made[:copies] ^ flips[0] ^ flips[1]
    return Keys(np.stack([made, np.zeros_like(made)], 1), np.ones(rows, bool))


if __name__ == "__main__":
    common.main(measure, __doc__)
