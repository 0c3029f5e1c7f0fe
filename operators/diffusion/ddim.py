"""DDIM in closed form, towards the picture and back (Song et al. 2021, eq. 12 with sigma 0)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from operators.diffusion.noise_level import PREDICTIONS, NoiseLevel
from operators.errors import ModelError, ValueInvalidError


class Ddim:
    """The noise levels of a model at so many steps, and the two directions along them.

    Nothing is clipped: a clipped step can't be undone.

    Args:
        scheduler: the model's own diffusers scheduler, whose noise levels, spacing and prediction type are taken.
        steps: number of steps, from 1 to the number of timesteps trained on.

    Attributes:
        timesteps: ``(steps,)`` on the CPU, rising. The network is asked at ``timesteps[k]`` for the way between
            level ``k`` and level ``k + 1``, whichever way it is gone.
        levels: share of the picture's variance that is left, alpha bar, at each of ``steps + 1`` levels, falling.

    Raises:
        ValueInvalidError: the model has no such number of steps.
    """

    def __init__(self, scheduler: Any, steps: int) -> None:
        from diffusers import DDIMScheduler

        trained = scheduler.config.num_train_timesteps
        if not 1 <= steps <= trained:
            raise ValueInvalidError(f"steps is {steps}, but must be in 1..{trained}")
        self._kind = scheduler.config.prediction_type
        if self._kind not in PREDICTIONS:
            raise ModelError(f"the model predicts {self._kind!r}; DDIM takes epsilon, v_prediction or sample")
        kind: Any = DDIMScheduler
        own = kind.from_config(scheduler.config)
        own.set_timesteps(steps)
        self.timesteps: Tensor = own.timesteps.flip(0)
        alphas = scheduler.alphas_cumprod.double()[self.timesteps]
        self.levels: list[float] = [float(own.final_alpha_cumprod), *alphas.tolist()]

    def at(self, level: int) -> NoiseLevel:
        """What latents at a level are made of; zero picture is kept off zero."""
        kept = max(self.levels[level], 1e-8)
        return NoiseLevel(math.sqrt(kept), math.sqrt(1 - kept), self._kind)

    def epsilon(self, predicted: Tensor, latents: Tensor, level: int) -> Tensor:
        """The noise in latents at a level, of what the network predicted there."""
        return self.at(level).epsilon(predicted, latents)

    def clean(self, epsilon: Tensor, latents: Tensor, level: int) -> Tensor:
        """The picture that latents at a level would be without their noise."""
        return self.at(level).clean(epsilon, latents)

    def noised(self, clean: Tensor, noise: Tensor, level: int) -> Tensor:
        """Noise on top of clean latents, as a level has it."""
        return self.at(level).noised(clean, noise)

    def move(self, epsilon: Tensor, latents: Tensor, level: int, to: int) -> Tensor:
        """Latents at a level, taken to another one along their noise."""
        return self.noised(self.clean(epsilon, latents, level), epsilon, to)

    def sampling(self, begin: int | None = None) -> Way:
        """The way from level ``begin``, the noisiest unless given, to the picture."""
        top = len(self.timesteps) if begin is None else begin
        return Way(self, [(level, level - 1, level - 1) for level in range(top, 0, -1)])

    def inverting(self, end: int | None = None) -> Way:
        """The way from the picture to level ``end``, the noisiest unless given.

        A step up needs the noise at the level it leads to; that at the level it comes from stands for it.
        """
        top = len(self.timesteps) if end is None else end
        return Way(self, [(level, level + 1, level) for level in range(top)])


class Way:
    """Steps from level to level, as the denoising loop takes them: ``(from, to, place of the timestep)``."""

    def __init__(self, ddim: Ddim, moves: list[tuple[int, int, int]]) -> None:
        self._ddim = ddim
        self._moves = {int(ddim.timesteps[place]): (level, to) for level, to, place in moves}
        self.timesteps: Tensor = ddim.timesteps[[place for _, _, place in moves]]

    def scale(self, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """The latents: DDIM does not scale."""
        return latents

    def level(self, timestep: Tensor) -> NoiseLevel:
        """What latents at a timestep are made of."""
        return self._ddim.at(self._moves[int(timestep)][0])

    def prediction(self, predicted: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:
        """The noise, whatever the network predicts."""
        return self._ddim.epsilon(predicted, latents, self._moves[int(timestep)][0])

    def step(self, predicted: Tensor, timestep: Tensor, latents: Tensor, generators: list[torch.Generator]) -> Tensor:  # noqa: ARG002
        """The latents at the next level."""
        return self._ddim.move(predicted, latents, *self._moves[int(timestep)])
