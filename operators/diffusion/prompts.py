"""What a network is told: text embeddings of a batch, for networks with one text encoder or two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prompts:
    """Text embeddings of ``n`` rows.

    Attributes:
        hidden: ``(n, tokens, width)``, what cross-attention reads.
        pooled: ``(n, width)``, one embedding for the whole text; only where the network takes it.
    """

    hidden: Tensor
    pooled: Tensor | None = None

    def __getitem__(self, rows: Sequence[int] | Tensor | slice) -> Prompts:
        return Prompts(self.hidden[rows], None if self.pooled is None else self.pooled[rows])

    def __add__(self, other: Prompts) -> Prompts:
        return Prompts(
            self.hidden + other.hidden,
            None if self.pooled is None or other.pooled is None else self.pooled + other.pooled,
        )

    def __sub__(self, other: Prompts) -> Prompts:
        return Prompts(
            self.hidden - other.hidden,
            None if self.pooled is None or other.pooled is None else self.pooled - other.pooled,
        )

    def mean(self) -> Prompts:
        """The mean over rows, as one row."""
        return Prompts(self.hidden.mean(0, True), None if self.pooled is None else self.pooled.mean(0, True))

    @staticmethod
    def joined(parts: Sequence[Prompts]) -> Prompts:
        """The rows of all parts, in order."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Prompts(torch.cat([part.hidden for part in parts]), torch.cat(pooled) if pooled else None)
