"""CycleDiffusion: the noise that a picture was made with, given to its edit step by step (Wu and De la Torre 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from operators.diffusion.ddim import Ddim
from operators.diffusion.loop import Predict, guide
from operators.diffusion.noise import row_noise
from operators.diffusion.noise_level import NoiseLevel


class DpmEncoder:
    """Stochastic DDIM of pictures and their edits side by side, as the denoising loop takes it.

    A picture's latents one level down are drawn from their distribution given the picture (Song et al. 2021, eq. 7);
    what they have beyond the model's mean (eq. 12) is the noise of this step (Wu and De la Torre 2023, algorithm 1),
    which the edit takes over.

    Args:
        ddim: noise levels.
        begin: level to begin at.
        clean: ``(m, c, h, w)``, latents of the pictures.
        places: ``(n,)``, the picture of every edit.
        eta: in 0..1, share of DDPM's noise that a step adds.

    Attributes:
        timesteps: ``(begin,)``. The loop's latents are ``(m + n, c, h, w)``, the pictures' and the edits'.
    """

    def __init__(self, ddim: Ddim, begin: int, clean: Tensor, places: Tensor, eta: float) -> None:
        self._ddim, self._clean, self._places, self._eta = ddim, clean, places, eta
        self._levels = {int(timestep): level for level, timestep in enumerate(ddim.timesteps, 1)}
        self.timesteps: Tensor = ddim.timesteps[:begin].flip(0)

    def scale(self, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """The latents: DDIM does not scale."""
        return latents

    def level(self, timestep: Tensor) -> NoiseLevel:
        """What latents at a timestep are made of."""
        return self._ddim.at(self._levels[int(timestep)])

    def prediction(self, predicted: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:
        """The noise, whatever the network predicts."""
        return self._ddim.epsilon(predicted, latents, self._levels[int(timestep)])

    def step(self, predicted: Tensor, timestep: Tensor, latents: Tensor, generators: list[torch.Generator]) -> Tensor:
        """The latents one level down; each picture's noise is drawn from its own generator."""
        level = self._levels[int(timestep)]
        now, then = self._ddim.levels[level], self._ddim.levels[level - 1]
        deviation = self._eta * math.sqrt((1 - then) / (1 - now) * (1 - now / then))

        def mean(clean: Tensor, noise: Tensor) -> Tensor:
            return math.sqrt(then) * clean + math.sqrt(1 - then - deviation**2) * noise

        drawn = self._clean
        if level > 1:
            pictures = latents[: len(drawn)]
            noise = (pictures - math.sqrt(now) * drawn) / math.sqrt(1 - now)
            drawn = mean(drawn, noise) + deviation * row_noise(generators, drawn.shape[1:], drawn.device)
        means = mean(self._ddim.clean(predicted, latents, level), predicted)
        # The noise cancels: added up this way, an edit to the same prompt is exactly the picture.
        apart = means[len(drawn) :] - means[: len(drawn)][self._places]
        return torch.cat([drawn, drawn[self._places] + apart])


class Sides:
    """The network on pictures and their edits, each side guided in its own way.

    Args:
        sides: for each, the network under the conditions of its rows, and their guidance scales ``(k,)``.
    """

    passes = 1

    def __init__(self, *sides: tuple[Predict, Tensor]) -> None:
        self._sides = sides

    def __call__(self, inputs: Tensor, timestep: Tensor) -> Tensor:
        """Guided predictions ``(1, m + n, c, h, w)`` of latents of that shape."""
        parts = torch.split(inputs[0], [len(scale) for _, scale in self._sides])
        guided = [
            guide(predict(part.expand(predict.passes, *part.shape), timestep), scale)
            for part, (predict, scale) in zip(parts, self._sides, strict=True)
        ]
        return torch.cat(guided)[None]
