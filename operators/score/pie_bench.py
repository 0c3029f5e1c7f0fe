"""PIE-Bench's own definitions (Ju et al. 2024), where they are others; its numbers compare with no other ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from operators.score.background import Background
from operators.score.vision import VisionTransformer

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LONGEST = (480, 224)
"""The longer side at the most, and the side that the network was made for."""


def blackened(before: Tensor, after: Tensor, inside: Tensor | None) -> Background:
    """The pictures with the mask's inside black, which is part of every mean; arguments as for ``outside``."""
    if inside is None:
        return Background(before, after, torch.ones_like(before[:, :1], dtype=torch.float32))
    kept = inside != 1
    shown = kept.flatten(1).any(1).view(-1, 1, 1, 1) & inside.isfinite()
    weights = torch.where(shown, 1.0, torch.nan)
    return Background(before * kept, after * kept, weights)


def unscaled(network: VisionTransformer, pictures: Tensor) -> Tensor:
    """Pictures ``(n, 3, h, w)`` of bytes as the benchmark shows them to DINO.

    The shorter side is scaled to the network's own, bilinear and without smoothing, and ImageNet's mean and deviation
    of colours in 0..1 are applied to values in 0..255.
    """
    height, width = pictures.shape[-2:]
    longest = network.side * _LONGEST[0] // _LONGEST[1]
    scales = (network.side, min(height, width)), (longest, max(height, width))
    side, given = min(scales, key=lambda scale: scale[0] / scale[1])
    size = height * side // given, width * side // given
    mean, deviation = (pictures.new_tensor(each, dtype=torch.float32).view(3, 1, 1) for each in (_MEAN, _DEVIATION))
    scaled = interpolate(pictures.float(), size, mode="bilinear", align_corners=False)
    return (scaled - mean) / deviation
