"""Latents moved so that every subject of a prompt is attended to (Attend-and-Excite, Chefer et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from operators.diffusion.attention import AttentionMaps, map_size
from operators.diffusion.blur import blurred
from operators.diffusion.denoising import Denoising
from operators.diffusion.loop import Method

if TYPE_CHECKING:
    from operators.controls.attend_and_excite import AttendAndExcite

_SHARPNESS = 100


class Excite(Method):
    """Gradient steps on how little attention the most neglected subject has (algorithm 1).

    In the steps of ``thresholds`` they are repeated, for each row until its subjects have that much.

    Args:
        denoising: the batch; its conditional pass is read.
        layers: of one scale.
        downscaling: latents that a position of these layers stands for, in each direction.
        spec: what all rows have in common.
        asked: of every row ``tokens``, ``scale_factor`` and ``max_iter_to_alter``.
    """

    def __init__(
        self,
        denoising: Denoising,
        layers: AttentionMaps,
        downscaling: int,
        spec: AttendAndExcite,
        asked: list[dict[str, Any]],
    ) -> None:
        self._denoising, self._layers, self._downscaling, self._spec = denoising, layers, downscaling, spec
        device = denoising.family.device
        # Row by row, the tokens without the first of all, which is no word.
        tokens = [torch.tensor([token - 1 for token in row["tokens"]] or [-1]) for row in asked]
        padded = pad_sequence(tokens, batch_first=True, padding_value=-1).to(device)
        self._tokens, self._present = padded.clamp(min=0), padded >= 0
        self._lasts = [row["max_iter_to_alter"] for row in asked]
        self._last = torch.tensor(self._lasts, device=device)
        steps = len(denoising.schedule.timesteps)
        lengths = torch.linspace(*spec.scale_range, steps, device=device).sqrt()
        self._lengths = lengths[:, None] * torch.tensor([row["scale_factor"] for row in asked], device=device)
        self._step = 0

    def before(self, inputs: Tensor, timestep: Tensor) -> Tensor:
        """The latents of every pass, moved alike."""
        step, self._step = self._step, self._step + 1
        threshold = self._spec.thresholds.get(step)
        if threshold is None and step >= max(self._lasts):
            return inputs
        latents, length = inputs[0], self._lengths[step]
        lack, gradient = self._lack(latents, timestep)
        if threshold is not None:
            latents, gradient = self._refined(latents, lack, gradient, timestep, length, 1 - threshold)
        latents = latents - _rows(length * (step < self._last)) * gradient
        return inputs + (latents - inputs[0])

    def _refined(
        self, latents: Tensor, lack: Tensor, gradient: Tensor, timestep: Tensor, length: Tensor, allowed: float
    ) -> tuple[Tensor, Tensor]:
        """Latents moved until nothing lacks more than is allowed; a row that is there makes one move more and rests."""
        moving = lack > allowed
        for _ in range(self._spec.max_refinement_steps):
            # The one question to the device in a step: without it every row would pay for the worst.
            if not moving.any():
                break
            latents = latents - _rows(length * moving) * gradient
            moving = moving & (lack > allowed)
            lack, gradient = self._lack(latents, timestep)
        return latents, gradient

    def _lack(self, latents: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """What the most neglected subject of every row lacks, ``(n,)`` in 0..1 (eq. 1), and its gradient."""
        predict, schedule = self._denoising.predictor([self._denoising.conditional]), self._denoising.schedule
        with torch.enable_grad():
            moved = latents.detach().clone().requires_grad_()
            with self._layers.maps() as maps:
                predict(schedule.scale(moved[None], timestep), timestep)
            together = torch.cat(list(maps.values()), 1).mean(1)
            height, width = latents.shape[-2:]
            size = map_size(height, width, self._downscaling)
            lack = ((1 - self._attention(together, size)).clamp(min=0) * self._present).max(1).values
            (gradient,) = torch.autograd.grad(lack.sum(), moved)
        return lack.detach(), gradient

    def _attention(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """The most attention that any place pays to each subject ``(n, k)``, of maps ``(n, positions, tokens)``."""
        words = (_SHARPNESS * maps[..., 1:-1]).softmax(-1)
        subjects = words.gather(-1, self._tokens[:, None].expand(-1, words.shape[1], -1))
        placed = subjects.mT.reshape(*self._tokens.shape, *size)
        return blurred(placed, self._spec.smoothing_kernel, self._spec.smoothing_sigma).flatten(2).amax(-1)


def _rows(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
