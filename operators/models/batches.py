"""Batches of what networks can be given together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def by_shape(tensors: Sequence[Tensor]) -> Iterator[tuple[list[int], Tensor]]:
    """The places of tensors of one shape and their stack ``(n, ...)``, for every shape there is."""
    places: dict[torch.Size, list[int]] = defaultdict(list)
    for place, tensor in enumerate(tensors):
        places[tensor.shape].append(place)
    for rows in places.values():
        yield rows, torch.stack([tensors[row] for row in rows])
