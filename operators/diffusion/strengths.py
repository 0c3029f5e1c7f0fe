"""How strongly a condition tells on every row, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from operators.diffusion.denoising import Denoising
from operators.diffusion.loop import Method


class Clock(Method):
    """Knows which step the loop is at, without asking the device. Goes ahead of all other methods."""

    def __init__(self) -> None:
        self._begun = 0

    @property
    def step(self) -> int:
        """From 0; the first until the loop begins."""
        return max(self._begun - 1, 0)

    def before(self, inputs: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """Another step begins."""
        self._begun += 1
        return inputs


@dataclass(frozen=True)
class Strengths:
    """What a condition's share in the prediction is multiplied by.

    Attributes:
        clock: of the loop.
        by_step: ``(steps, n)``, on the device.
        used: of every step, whether any row of the batch has the condition in it.
    """

    clock: Clock
    by_step: Tensor
    used: tuple[bool, ...]

    @property
    def now(self) -> Tensor | None:
        """``(n,)`` in the present step; None where no row has the condition."""
        return self.by_step[self.clock.step] if self.used[self.clock.step] else None

    def __getitem__(self, rows: Tensor) -> Strengths:
        return replace(self, by_step=self.by_step[:, rows])


def strengths(denoising: Denoising, asked: Sequence[dict[str, Any]]) -> Strengths:
    """The strengths in a batch of rows with ``scale``, ``start`` and ``end``.

    A row has the condition in the steps that lie wholly between the shares ``start`` and ``end`` of those taken.
    """
    clock = Clock()
    denoising.methods.insert(0, clock)
    taken = len(denoising.schedule.timesteps)
    scale, start, end = (torch.tensor([row[name] for row in asked]).double() for name in ("scale", "start", "end"))
    step = torch.arange(taken, dtype=torch.float64)[:, None]
    inside = (step / taken >= start) & ((step + 1) / taken <= end) & (scale > 0)
    by_step = (inside * scale).to(denoising.family.device, denoising.family.dtype)
    return Strengths(clock, by_step, tuple(inside.any(1).tolist()))
