"""The metrics: each a number ``(n,)`` for the rows of a batch, NaN where it is undefined."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from operators.score import background, structure
from operators.score.batch import Batch
from operators.score.metrics import Metric
from operators.score.perceptual import ReleasedLpips, between_layers

_GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""

_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def clip_source(batch: Batch) -> Tensor:
    """Cosine of the picture before the edit and the text about it."""
    return _dot(batch.clip_before, batch.clip_source)


def clip_target(batch: Batch) -> Tensor:
    """Cosine of the picture and the text about what it shall show."""
    return _dot(batch.clip_after, batch.clip_target)


def clip_image(batch: Batch) -> Tensor:
    """Cosine of the pictures before and after."""
    return _dot(batch.clip_before, batch.clip_after)


def clip_direction(batch: Batch) -> Tensor:
    """Cosine of what changed in the picture and what changed in the text (Gal et al. 2022, eq. 3).

    Undefined where one of them didn't change.
    """
    seen, said = batch.clip_after - batch.clip_before, batch.clip_target - batch.clip_source
    lengths: Tensor = seen.norm(dim=1) * said.norm(dim=1)
    return _dot(seen, said) / lengths


def clip_edited(batch: Batch) -> Tensor:
    """Cosine of what the mask covers, all else black, and the text about what the picture shall show.

    Undefined where the mask covers nothing.
    """
    near = _dot(batch.embedded(batch.after * batch.covered), batch.clip_target)
    return near.where(batch.covered.flatten(1).any(1), torch.nan)


def background_lpips(batch: Batch) -> Tensor:
    """Perceptual distance of what is outside of the mask, over its share of the picture."""
    seen, network = batch.background, batch.networks.lpips
    if isinstance(network, ReleasedLpips):
        apart = network(seen.before, seen.after)
    else:
        apart = between_layers(batch.features(network, seen.before), batch.features(network, seen.after))
    return apart / seen.weights.mean((1, 2, 3))


def structure_distance(batch: Batch) -> Tensor:
    """Distance of the self-similarities of the pictures before and after."""
    network, view = batch.networks.dino, batch.networks.structure_view
    before, after = (batch.features(network, pictures, view) for pictures in (batch.before, batch.after))
    return structure.distance(before, after)


def sharpness(batch: Batch) -> Tensor:
    """Variance of the Laplacian of the grey picture in 0..255 (Pech-Pacheco et al. 2000): blurred ones have little."""
    grey = (batch.after * batch.after.new_tensor(_GREY, dtype=torch.float32).view(3, 1, 1)).sum(1, keepdim=True)
    kernel = grey.new_tensor(_LAPLACIAN)[None, None]
    return conv2d(pad(grey, (1, 1, 1, 1), "reflect"), kernel).flatten(1).var(1, correction=0)


def aesthetics(batch: Batch) -> Tensor:
    """What the given model makes of CLIP's embedding of the picture."""
    return batch.networks.aesthetics(batch.clip_after)


def _dot(ours: Tensor, theirs: Tensor) -> Tensor:
    return (ours * theirs).sum(1)


MEASURES: dict[Metric, Callable[[Batch], Tensor]] = {
    Metric.CLIP_SOURCE: clip_source,
    Metric.CLIP_TARGET: clip_target,
    Metric.CLIP_DIRECTION: clip_direction,
    Metric.CLIP_IMAGE: clip_image,
    Metric.CLIP_EDITED: clip_edited,
    Metric.BACKGROUND_LPIPS: background_lpips,
    Metric.BACKGROUND_SSIM: lambda batch: background.ssim(batch.background),
    Metric.BACKGROUND_PSNR: lambda batch: background.psnr(batch.background),
    Metric.BACKGROUND_MSE: lambda batch: background.mse(batch.background),
    Metric.STRUCTURE: structure_distance,
    Metric.SHARPNESS: sharpness,
    Metric.AESTHETICS: aesthetics,
}
