"""Cross-attention maps, read while a network predicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Maps(list[Tensor]):
    """Cross-attention maps of the predictions made so far, one tensor ``(rows, heads, positions, tokens)`` per layer.

    In single precision, and part of the graph where gradients are recorded.
    """


@contextmanager
def cross_attention_maps(unet: Any) -> Iterator[Maps]:
    """Read the maps of every cross-attention layer of what is predicted inside.

    The network's processors are those it had again at the end, whatever happens inside. Self-attention keeps its own.
    """
    before = dict(unet.attn_processors)
    maps = Maps()
    reader = _Reader(maps)
    unet.set_attn_processor({name: reader if _is_cross(name) else own for name, own in before.items()})
    try:
        yield maps
    finally:
        unet.set_attn_processor(before)


def _is_cross(name: str) -> bool:
    return ".attn2." in name


class _Reader:
    """Attention written out, so that its probabilities can be kept. Scores and softmax are in single precision."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,  # noqa: ARG002
        temb: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        heads = attn.heads
        query, key, value = (
            projected.unflatten(-1, (heads, -1)).transpose(1, 2)
            for projected in (
                attn.to_q(hidden_states),
                attn.to_k(encoder_hidden_states),
                attn.to_v(encoder_hidden_states),
            )
        )
        scores = (query.float() * attn.scale) @ key.float().transpose(-1, -2)
        probabilities = scores.softmax(-1)
        self._maps.append(probabilities)
        mixed = (probabilities.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        projected: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return projected
