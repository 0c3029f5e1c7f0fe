"""Gaussian blur of latents and attention maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def blurred(values: Tensor, size: int, sigma: float) -> Tensor:
    """Values ``(n, c, h, w)`` blurred in both directions.

    Args:
        values: mirrored at their edges.
        size: of the kernel, odd; a smaller one is used where there are fewer values than it reaches over.
        sigma: standard deviation of the Gaussian, in values.
    """
    along = _along(values.flatten(0, 1), size, sigma)
    return _along(along.mT, size, sigma).mT.view(values.shape)


def _along(rows: Tensor, size: int, sigma: float) -> Tensor:
    half = min(size // 2, rows.shape[-1] - 1)
    kernel = (torch.arange(-half, half + 1, device=rows.device) / sigma).square().div(-2).softmax(0)
    return functional.pad(rows, (half, half), mode="reflect").unfold(-1, 2 * half + 1, 1) @ kernel
