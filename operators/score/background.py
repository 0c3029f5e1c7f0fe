"""What is left of a picture outside of the mask of an edit, and how far two of them are apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

WINDOW = 11
"""Pixels of a side of the window of SSIM."""

MOST_PSNR = 100.0
"""Decibels of pictures between which there is no difference."""


@dataclass(frozen=True)
class Background:
    """Two backgrounds to compare.

    Attributes:
        before: ``(n, 3, h, w)`` bytes.
        after: likewise.
        weights: ``(n, 1, h, w)``, how much each pixel counts; NaN all over where a row has no mask.
    """

    before: Tensor
    after: Tensor
    weights: Tensor


def outside(before: Tensor, after: Tensor, inside: Tensor | None) -> Background:
    """The pixels outside of masks; what lies inside is the same in both, so that no window sees it.

    Args:
        before: ``(n, 3, h, w)`` bytes.
        after: likewise.
        inside: ``(n, 1, h, w)``, 1 in the mask and 0 elsewhere, NaN where a row has none; None if all is background.
    """
    if inside is None:
        return Background(before, after, torch.ones_like(before[:, :1], dtype=torch.float32))
    return Background(before, torch.where(inside == 1, before, after), 1 - inside)


def mse(background: Background) -> Tensor:
    """Mean squared difference ``(n,)`` of pixels in 0..1."""
    apart = (background.after.float() - background.before.float()) / 255
    return _mean(apart.square().mean(1, keepdim=True), background.weights)


def psnr(background: Background) -> Tensor:
    """Peak signal-to-noise ratio ``(n,)`` in decibels, 100 at the most."""
    return (-10 * mse(background).log10()).clamp(max=MOST_PSNR)


def ssim(background: Background) -> Tensor:
    """Structural similarity ``(n,)`` (Wang et al. 2004): Gaussian windows of 11 pixels and a deviation of 1.5.

    As in most implementations, windows that reach over the edge of the picture don't count; where all do, NaN.
    """
    height, width = background.before.shape[-2:]
    if min(height, width) < WINDOW:
        return background.weights.new_full((len(background.weights),), torch.nan)
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, similar = structural_similarity_index_measure(
        background.after.float() / 255,
        background.before.float() / 255,
        kernel_size=WINDOW,
        data_range=1.0,
        return_full_image=True,
    )
    edge = WINDOW // 2
    inner = (..., slice(edge, height - edge), slice(edge, width - edge))
    return _mean(similar[inner].mean(1, keepdim=True), background.weights[inner])


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted means ``(n,)`` of maps ``(n, 1, h, w)``; NaN where nothing has weight."""
    return (values * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))
