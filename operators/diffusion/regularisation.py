"""Noise that stays white while a picture is inverted (Pix2Pix Zero, Parmar et al. 2023, section 3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from operators.diffusion.loop import Method

_LEAST_HEIGHT = 8
_TINY = 1e-7


class Regularisation(Method):
    """Pull every predicted noise towards noise that is independent from place to place, and standard normal.

    A regularisation step is ``rolls`` gradient steps on the auto-correlation (eq. 4) and one on the divergence from a
    standard normal (eq. 5), of each row by itself.

    Args:
        generators: one per row; a row's rolls are drawn from its own.
        lambda_auto_correlation: how far the gradient steps on the auto-correlation go together, 0 for none.
        lambda_kl: how far the one on the divergence goes, 0 for none.
        steps: regularisation steps for every prediction.
        rolls: distances in every step at which the auto-correlation is measured.
        least_roll: distances are from here up to half the height, exclusive; at 0 noise is compared with itself.
    """

    def __init__(
        self,
        generators: list[torch.Generator],
        lambda_auto_correlation: float = 20.0,
        lambda_kl: float = 20.0,
        steps: int = 5,
        rolls: int = 5,
        least_roll: int = 1,
    ) -> None:
        self._generators = generators
        self._lambdas = lambda_auto_correlation, lambda_kl
        self._steps = steps
        self._rolls = rolls if lambda_auto_correlation > 0 else 0
        self._least_roll = least_roll

    def correct(self, predicted: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """The predicted noise ``(n, c, h, w)``, h and w 4 or more, regularised."""
        auto_correlation, kl = self._lambdas
        for rolls in self._drawn(*predicted.shape[1:]).to(predicted.device).unbind(1):
            for shifts in rolls.unbind(1):
                gradient = auto_correlation_gradient(predicted, shifts)
                predicted = predicted - auto_correlation / self._rolls * gradient
            predicted = predicted - kl * kl_gradient(predicted)
        return predicted

    def _drawn(self, channels: int, height: int, width: int) -> Tensor:
        """Distances ``(n, steps, rolls, channels, scales)``.

        A generator gives 32 bits modulo the bound, so a multiple of all bounds stands for each of them.
        """
        bounds = torch.tensor([tall // 2 - self._least_roll for tall in _heights(height, width)])
        shape = (self._steps, self._rolls, channels, len(bounds))
        multiple = math.lcm(*bounds.tolist())
        drawn = [torch.randint(multiple, shape, generator=generator) for generator in self._generators]
        return torch.stack(drawn) % bounds + self._least_roll


def auto_correlation_gradient(noise: Tensor, shifts: Tensor) -> Tensor:
    """Gradient of eq. 4: squared means of noise times itself rolled down, and rolled right, summed over scales.

    Args:
        noise: ``(n, c, h, w)``.
        shifts: ``(n, c, scales)``, how far to roll; each scale has half the sides of the one before.
    """
    shift = shifts[..., :1, None]
    gradient = _rolled_gradient(noise, shift, 2) + _rolled_gradient(noise, shift, 3)
    if shifts.shape[-1] > 1:
        smaller = auto_correlation_gradient(avg_pool2d(noise, 2), shifts[..., 1:])
        spread = smaller.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
        gradient[..., : spread.shape[2], : spread.shape[3]] += spread
    return gradient


def kl_gradient(noise: Tensor) -> Tensor:
    """Gradient of ``var + mean² - 1 - log var`` (eq. 5), of the mean and variance of each row ``(c, h, w)``."""
    values = noise[0].numel()
    variance, mean = torch.var_mean(noise, (1, 2, 3), keepdim=True)
    return (1 - 1 / (variance + _TINY)) * 2 * (noise - mean) / (values - 1) + 2 * mean / values


def _rolled_gradient(noise: Tensor, shift: Tensor, dim: int) -> Tensor:
    """Gradient of ``mean(noise * rolled)²``; ``shift`` is ``(n, c, 1, 1)``."""
    size = noise.shape[dim]
    along = torch.arange(size, device=noise.device).view([-1 if axis == dim else 1 for axis in range(4)])
    there, back = (noise.gather(dim, ((along + way) % size).expand_as(noise)) for way in (-shift, shift))
    pixels = noise.shape[2] * noise.shape[3]
    return 2 * (noise * there).mean((2, 3), keepdim=True) * (there + back) / pixels


def _heights(height: int, width: int) -> list[int]:
    """Of the scales, down to 8; a picture far taller than wide has fewer."""
    heights = [height]
    while heights[-1] > _LEAST_HEIGHT and width >> len(heights):
        heights.append(heights[-1] // 2)
    return heights
