"""Masks of edits: found by DiffEdit where prompts disagree, and blended in along a trajectory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from operators.diffusion.ddim import Ddim
from operators.diffusion.loop import Method, Predict


def difference_map(predict: Predict, ddim: Ddim, clean: Tensor, noises: Tensor, level: int) -> Tensor:
    """How much two prompts disagree about every latent (DiffEdit, Couairon et al. 2023, section 3.2, step 1).

    Classifier-free guidance of both from one negative prompt would multiply the map by its scale and leave the same
    mask, so there is none.

    Args:
        predict: the network under the source's and the target's conditions.
        ddim: noise levels.
        clean: ``(n, c, h, w)``.
        noises: ``(n, maps, c, h, w)``.
        level: that the noises are added at.

    Returns:
        ``(n, h, w)``, the mean of the absolute difference over noises and channels.
    """
    timestep = ddim.timesteps[level - 1]
    total = torch.zeros_like(clean[:, 0])
    for noise in noises.unbind(1):
        noised = ddim.noised(clean, noise, level)
        source, target = predict(noised.expand(2, *noised.shape), timestep)
        total += (target - source).abs().mean(1)
    return total / noises.shape[1]


def peak(maps: Tensor) -> Tensor:
    """The greatest value ``(n,)`` of each map ``(n, h, w)``, but for the extreme fiftieth."""
    return maps.flatten(1).quantile(0.98, 1)


def above(maps: Tensor, limits: Tensor) -> Tensor:
    """Masks ``(n, 1, h, w)`` of maps ``(n, h, w)``: 1 where a map is above its limit ``(n,)``."""
    return (maps > limits.view(-1, 1, 1)).float()[:, None]


def to_latents(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks ``(n, 1, H, W)`` at the size of latents: 1 where at least half of what a latent stands for is masked."""
    return (functional.adaptive_avg_pool2d(masks, (height, width)) >= 0.5).float()


class Blend(Method):
    """Keeps what a mask leaves out on the source's own trajectory (DiffEdit, section 3.2, step 3).

    Args:
        mask: ``(n, 1, h, w)``, 1 where the edit goes its own way.
        trajectory: ``(levels, n, c, h, w)``, the source's latents from the picture up to where the edit begins.
        lag: levels above the edit's own that the source is taken from. At 0 both have the same noise.
    """

    def __init__(self, mask: Tensor, trajectory: Tensor, lag: int = 0) -> None:
        self._mask = mask
        self._levels = list(reversed(range(lag, len(trajectory) - 1 + lag)))
        self._trajectory = trajectory

    def after(self, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """The edit inside of the mask, the source outside of it."""
        source = self._trajectory[self._levels.pop(0)]
        return self._mask * latents + (1 - self._mask) * source
