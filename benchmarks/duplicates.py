"""Grouping of perceptual hashes: seconds and memory for so many random words, of which a fifth are near another one.

python benchmarks/duplicates.py 1000000 4
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc

import numpy as np

from operators.likeness import Keys, same

ROWS, BITS = int(sys.argv[1]), int(sys.argv[2])


def words(rng: np.random.Generator) -> Keys:
    made = rng.integers(0, 2**64, ROWS, np.uint64)
    copies = ROWS // 5
    flips = np.uint64(1) << rng.integers(0, 64, (2, copies), np.uint64)
    made[-copies:] = made[:copies] ^ flips[0] ^ flips[1]
    return Keys(np.stack([made, np.zeros_like(made)], 1), np.ones(ROWS, bool))


keys = words(np.random.default_rng(0))
began = time.perf_counter()
groups = same(keys, BITS)
seconds = time.perf_counter() - began
tracemalloc.start()
same(keys, BITS)
peak = tracemalloc.get_traced_memory()[1]
left_out = int((groups != np.arange(ROWS)).sum())
print(json.dumps({"rows": ROWS, "seconds": round(seconds, 2), "bytes_a_row": round(peak / ROWS), "left_out": left_out}))
