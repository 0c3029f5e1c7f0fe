"""With how many rows each row went through the networks, told beside a part's outcomes.

A row made again with as many is the same to the last bit; with another number sums are rounded in another order.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping

_BATCHES = "latentmill.batches."
"""Metadata of a part's outcomes, with the step's name: the usual size of a batch, and the rows of others by size."""


def noted(step: str, sizes: Mapping[str, int]) -> dict[str, str]:
    """The sizes of a step's batches by row id, as metadata of the part's objects; mostly all but the last are alike."""
    if not sizes:
        return {}
    ((usual, _),) = Counter(sizes.values()).most_common(1)
    others: dict[int, list[str]] = defaultdict(list)
    for row_id, size in sizes.items():
        if size != usual:
            others[size].append(row_id)
    return {f"{_BATCHES}{step}": json.dumps({"usual": usual, "others": others})}


def told(metadata: Mapping[bytes, bytes], step: str) -> Sizes:
    """What the metadata of a part's outcomes say of a step."""
    data = json.loads(metadata.get(f"{_BATCHES}{step}".encode(), b"{}"))
    others = {row_id: int(size) for size, ids in data.get("others", {}).items() for row_id in ids}
    return Sizes(data.get("usual"), others)


class Sizes:
    """Sizes of the batches of one part's rows in one step."""

    def __init__(self, usual: int | None, others: Mapping[str, int]) -> None:
        self._usual = usual
        self._others = others

    def of(self, row_id: str) -> int | None:
        """The size of the batch that a row went in; None where nothing tells."""
        return self._others.get(row_id, self._usual)
