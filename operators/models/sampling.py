"""Sampling of text in which every row has its own randomness; transformers draws a whole batch from one generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from operators.diffusion.noise import row_generators


class GumbelNoise(LogitsProcessor):
    """Makes the greedy choice an exact sample.

    ``argmax(logits + G)`` of standard Gumbel ``G`` is distributed as ``softmax(logits)`` (Maddison et al. 2014).

    Args:
        seeds: one for every row; the noise of a row depends on nothing else.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = row_generators(seeds)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        """Add noise to the scores ``(n, vocabulary)`` of the next token."""
        width = scores.shape[-1]
        waits = [torch.empty(width).exponential_(generator=generator) for generator in self._generators]
        return scores - torch.stack(waits).log().to(scores)


def row_sampling(
    seeds: Sequence[int], temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> LogitsProcessorList:
    """What to give a greedy ``generate`` as ``logits_processor`` to make it sample, one seed for every row.

    Args:
        seeds: one for every row.
        temperature: above 0.
        top_k: draw from this many likeliest tokens; 0 for all.
        top_p: draw from the likeliest tokens that share this much probability; in 0..1.
    """
    warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(float(temperature))]
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(float(top_p)))
    return LogitsProcessorList([*warpers, GumbelNoise(seeds)])
