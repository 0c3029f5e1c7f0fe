"""Inpainting with a network that was not trained for it: what a mask leaves out is put back after every step."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from operators.diffusion.loop import Method
from operators.diffusion.schedulers import Sampling


def covered(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks ``(n, 1, H, W)`` at the size of latents: 1 where any pixel that a latent stands for is masked."""
    return functional.adaptive_max_pool2d(masks, (height, width))


class KeepOriginal(Method):
    """Puts the original back outside of a mask, noised as the latents are (RePaint, Lugmayr et al. 2022, eq. 8).

    Args:
        schedule: that the loop goes along.
        mask: ``(n, 1, h, w)``, 1 where the picture may change.
        clean: ``(n, c, h, w)``, the original.
        noise: ``(n, c, h, w)``, the same at every step.
    """

    def __init__(self, schedule: Sampling, mask: Tensor, clean: Tensor, noise: Tensor) -> None:
        self._schedule, self._mask, self._clean, self._noise = schedule, mask, clean, noise
        self._ahead = iter(schedule.timesteps[1:])

    def after(self, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """The latents inside of the mask, the original outside of it; after the last step without noise."""
        ahead = next(self._ahead, None)
        original = self._clean if ahead is None else self._schedule.noised(self._clean, self._noise, ahead)
        return self._mask * latents + (1 - self._mask) * original
