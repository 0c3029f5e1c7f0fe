"""Noise that belongs to the row: drawn on the CPU from a generator of the row's own, then moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def row_generators(seeds: Iterable[int]) -> list[torch.Generator]:
    """One CPU generator for every seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def row_noise(generators: list[torch.Generator], shape: Sequence[int], device: torch.device) -> Tensor:
    """Standard normal noise ``(n, *shape)`` in single precision, the same on every device."""
    return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in generators]).to(device)
