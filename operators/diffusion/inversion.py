"""Inversion that the sampler undoes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from operators.diffusion.ddim import Ddim
from operators.diffusion.loop import Method, Predict, guide

TOLERANCE = 1e-3
MAX_ITERATIONS = 10

_TINY = 1e-30


def invert_exactly(
    predict: Predict,
    ddim: Ddim,
    latents: Tensor,
    guidance_scale: Tensor,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    end: int | None = None,
    methods: Sequence[Method] = (),
) -> Tensor:
    """Take latents to noise so that DDIM, under the same conditions, takes the noise back to them.

    A step up from level ``k`` has to find the latents that the step down takes to those at ``k``. It is solved for by
    fixed-point iteration (AIDI, Pan et al. 2023) with Anderson mixing of depth 1, which begins where the noise of the
    last two levels, continued in a line, leads: so near that one evaluation is enough for most steps. Each row is mixed
    by itself and stands still once it is found, so its mates have no say in it.

    Args:
        predict: the network under its conditions.
        ddim: the noise levels.
        latents: ``(n, c, h, w)`` at level 0, in single precision.
        guidance_scale: ``(n,)``; read only where ``predict`` makes two passes.
        tolerance: a row is found when its correction, which is still made, has a root mean square below this;
            and given up when its correction no longer halves, as in half precision where the tolerance is out of reach.
        max_iterations: evaluations of the network in a step, at the most.
        end: the level to go to, the noisiest unless given.
        methods: only what they do after a step is done.

    Returns:
        Latents ``(n, c, h, w)`` at level ``end``.
    """
    solver = _Solver(predict, ddim, guidance_scale, tolerance, max_iterations)
    noises: deque[Tensor] = deque(maxlen=2)
    for level, timestep in enumerate(ddim.timesteps[:end]):
        guess = ddim.move(2 * noises[-1] - noises[0], latents, level, level + 1) if noises else latents
        latents, noise = solver.step_up(latents, guess, level)
        noises.append(noise)
        for method in methods:
            latents = method.after(latents, timestep)
    return latents


@dataclass(frozen=True)
class _Solver:
    predict: Predict
    ddim: Ddim
    guidance_scale: Tensor
    tolerance: float
    max_iterations: int

    def step_up(self, latents: Tensor, guess: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """The latents one level up that the step down takes to ``latents``, and the noise in them."""
        noise, mixing = guess, _Mixing()
        moving = torch.ones((len(latents), 1, 1, 1), dtype=torch.bool, device=latents.device)
        least = torch.full_like(latents[:, :1, :1, :1], torch.inf)
        for _ in range(self.max_iterations):
            predicted, correction = self._correction(latents, guess, level)
            noise = torch.where(moving, predicted, noise)
            guess = torch.where(moving, mixing.next(guess, correction), guess)
            size = correction.square().mean((1, 2, 3), True).sqrt()
            moving &= (size >= self.tolerance) & (size < least / 2)
            least = torch.minimum(size, least)
            if not moving.any():
                break
        return guess, noise

    def _correction(self, latents: Tensor, guess: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """The noise predicted in a guess, and what the guess lacks if the network's answer were to stay the same."""
        passes = self.predict(guess.expand(self.predict.passes, *guess.shape), self.ddim.timesteps[level])
        predicted = guide(passes, self.guidance_scale)
        noise = self.ddim.epsilon(predicted, guess, level + 1)
        missed = latents - self.ddim.move(noise, guess, level + 1, level)
        return noise, missed / self._slope(level)

    def _slope(self, level: int) -> Tensor:
        """How the step down answers to the latents alone; it is linear in them and in the network's answer."""
        one = torch.ones(())
        return self.ddim.move(self.ddim.epsilon(torch.zeros(()), one, level + 1), one, level + 1, level)


class _Mixing:
    """Anderson mixing of depth 1 (Walker and Ni 2011, eq. 2.2), each row by itself."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor] | None = None

    def next(self, guess: Tensor, correction: Tensor) -> Tensor:
        """The guess after one that the map would take ``correction`` away from itself."""
        image = guess + correction
        mixed = image
        if self._last is not None:
            last_image, last_correction = self._last
            change = correction - last_correction
            share = (correction * change).sum((1, 2, 3), True) / (change.square().sum((1, 2, 3), True) + _TINY)
            mixed = image - share * (image - last_image)
        self._last = image, correction
        return mixed
