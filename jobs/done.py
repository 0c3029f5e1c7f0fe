"""Which source rows are done: their ids as two sorted columns of 64-bit hashes, 16 bytes a row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DoneRows:
    """A set of ids that can be asked for many at once. ``high`` is sorted; both have shape ``(n,)``, uint64."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]

    @classmethod
    def of(cls, batches: Iterable[Sequence[str]]) -> DoneRows:
        """Collect ids."""
        hashed = [_hashed(batch) for batch in batches]
        pairs = np.concatenate(hashed) if hashed else np.empty((0, 2), np.uint64)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        return cls(np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]))

    def __len__(self) -> int:
        return len(self.high)

    def contains(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Which of these ids are in the set."""
        asked = _hashed(ids)
        first = np.searchsorted(self.high, asked[:, 0], "left")
        last = np.searchsorted(self.high, asked[:, 0], "right")
        found = np.zeros(len(ids), bool)
        for shift in range(int((last - first).max(initial=0))):
            at = np.minimum(first + shift, len(self) - 1)
            found |= (first + shift < last) & (self.low[at] == asked[:, 1])
        return found


def _hashed(ids: Sequence[str]) -> NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(item.encode(), digest_size=16).digest() for item in ids)
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)
