"""The latents that a way passes through."""

from __future__ import annotations

import torch
from torch import Tensor

from operators.diffusion.loop import Method


class Trajectory(Method):
    """Keeps the latents of every level.

    Args:
        latents: ``(n, c, h, w)`` that the way begins at.
    """

    def __init__(self, latents: Tensor) -> None:
        self._levels = [latents]

    def after(self, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """The latents, kept."""
        self._levels.append(latents)
        return latents

    @property
    def stacked(self) -> Tensor:
        """``(levels, n, c, h, w)``, in the order of the way."""
        return torch.stack(self._levels)
