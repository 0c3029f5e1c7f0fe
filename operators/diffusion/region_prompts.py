"""Regions of a picture under prompts of their own (MultiDiffusion, Bar-Tal et al. 2023, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from operators.diffusion.denoising import Denoising
from operators.diffusion.loop import Method, guide
from operators.diffusion.noise import row_noise
from operators.diffusion.rendering import fitted_mask
from operators.diffusion.sizes import LEAST_LATENTS


class Compose(Method):
    """Puts the predictions under several prompts together, each in its own region.

    Every latent goes the mean way of the regions that cover it (eq. 5); that of the rows' own prompts where none does.
    In the first steps a region is predicted with a plain colour, noised as the latents are, around it, another colour
    at every step: so that what it shows is whole inside of it (bootstrapping).

    Args:
        denoising: the batch.
        passes: of each region.
        places: of every row, for each region a box ``(left, top, right, bottom)`` in 0..1 or a mask as a picture; None
            where the row has no such region.
        bootstrapping: of every row, in how many steps.
    """

    def __init__(
        self, denoising: Denoising, passes: list[int], places: list[list[Any]], bootstrapping: list[int]
    ) -> None:
        self._denoising, self._passes, self._places, self._bootstrapping = denoising, passes, places, bootstrapping
        self._step = 0

    def before(self, inputs: Tensor, timestep: Tensor) -> Tensor:
        """Put plain colours around the regions, for the regions' own passes alone."""
        if self._step == 0:
            self._begin(inputs[0])
        if self._step >= len(self._colours):
            return inputs
        inputs = inputs.clone()
        inputs[self._passes] = self._framed(inputs[self._passes], timestep)
        return inputs

    def combine(self, predicted: Tensor, passes: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:
        """The guided prediction ``(n, c, h, w)``, with those of the regions where they are."""
        scale, regions = self._denoising.guidance_scale, passes[self._passes]
        own = passes[0]
        if self._denoising.guided:
            nothing = self._unconditional(passes[:1], latents, timestep)
            regions = nothing + scale.view(-1, 1, 1, 1) * (regions - nothing)
            own = guide(passes[:2], scale)
        self._step += 1
        return predicted + (self._share * (regions - own)).sum(0)

    def _begin(self, latents: Tensor) -> None:
        generators, device = self._denoising.generators, self._denoising.family.device
        self._masks = self._covered(*latents.shape[-2:])
        self._share = self._masks / self._masks.sum(0).clamp(min=1)
        self._noise = row_noise(generators, latents.shape[1:], device)
        drawn = [
            torch.rand(steps, len(self._passes), 3, generator=generator)
            for steps, generator in zip(self._bootstrapping, generators, strict=True)
        ]
        self._colours = pad_sequence(drawn).transpose(1, 2)
        self._last = torch.tensor(self._bootstrapping, device=device).view(-1, 1, 1, 1)

    def _unconditional(self, passes: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:
        """The unconditional predictions of what the regions' passes were shown, or one for all where it is the same."""
        if self._step >= len(self._colours):
            return passes
        shown = self._framed(latents.expand(len(self._passes), *latents.shape), timestep)
        return self._denoising.predictor([0] * len(shown))(self._denoising.schedule.scale(shown, timestep), timestep)

    def _framed(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """Latents ``(regions, n, c, h, w)`` with a plain colour around each region in which a row still wants it."""
        family, schedule = self._denoising.family, self._denoising.schedule
        side, middle = LEAST_LATENTS * family.factor, LEAST_LATENTS // 2
        colours = self._colours[self._step]
        pictures = (2 * colours - 1).flatten(0, 1)[..., None, None].expand(-1, -1, side, side)
        encoded = family.encode_images(pictures, None)[..., middle, middle]
        plain = encoded.view(*colours.shape[:2], -1, 1, 1)
        # The level is of what the network is given; the loop's latents are that before it is scaled.
        scale = schedule.scale(torch.ones_like(latents[:1, :1, :1, :1, :1]), timestep)
        noised = schedule.level(timestep).noised(plain, self._noise) / scale
        return noised.where((self._step < self._last) & (self._masks == 0), latents)

    def _covered(self, height: int, width: int) -> Tensor:
        """1 where a region is, ``(regions, n, 1, height, width)``."""
        masks = [[_mask(place, height, width) for place in row] for row in self._places]
        return torch.stack([torch.stack(row) for row in masks], 1).to(self._denoising.family.device)


def _mask(place: Any, height: int, width: int) -> Tensor:
    if place is None:
        return torch.zeros(1, height, width)
    if not isinstance(place, Sequence):
        return fitted_mask(place, width, height)
    left, top, right, bottom = (round(edge * side) for edge, side in zip(place, (width, height) * 2, strict=True))
    mask = torch.zeros(1, height, width)
    mask[:, min(top, height - 1) : max(bottom, top + 1), min(left, width - 1) : max(right, left + 1)] = 1
    return mask
