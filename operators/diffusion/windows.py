"""Predictions made window by window, for latents of any size (MultiDiffusion, Bar-Tal et al. 2023, section 4.1)."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from operators.diffusion.predictor import Predictor, Window


class Windowed:
    """A network that sees latents through windows; where they overlap, the mean of its answers counts (eq. 5).

    Where a step is linear in the prediction, as DDIM's is, that is the same as the mean of the latents that each
    window's step would lead to.

    Args:
        predictor: the network under its conditions.
        side: latents of a window in each direction; where there are fewer, the window is as large as they are.
        stride: latents from one window to the next.
        circular: whether windows run over the right edge and go on at the left one.
    """

    def __init__(self, predictor: Predictor, side: int, stride: int, circular: bool) -> None:
        self.passes = predictor.passes
        self._predictor, self._side, self._stride, self._circular = predictor, side, stride, circular

    def __call__(self, inputs: Tensor, timestep: Tensor) -> Tensor:
        """Predictions ``(passes, n, c, h, w)`` of latents of that shape; a window of all rows at once."""
        total, count = torch.zeros_like(inputs), torch.zeros_like(inputs[0, 0, 0])
        height, width = inputs.shape[-2:]
        for window in self._windows(height, width, inputs.device):
            place = (..., window.rows[:, None], window.columns)
            total[place] += self._predictor(window.of(inputs), timestep, window)
            count[place] += 1
        return total / count

    def _windows(self, height: int, width: int, device: torch.device) -> list[Window]:
        rows = _begins(height, self._side, self._stride)
        columns = range(0, width, self._stride) if self._circular else _begins(width, self._side, self._stride)
        down, across = (torch.arange(min(side, self._side), device=device) for side in (height, width))
        return [Window(row + down, (column + across) % width) for row, column in product(rows, columns)]


def _begins(length: int, side: int, stride: int) -> tuple[int, ...]:
    """Where windows begin; the last one ends at the edge, at less than a stride if need be."""
    last = max(length - side, 0)
    return (*range(0, last, stride), last)
