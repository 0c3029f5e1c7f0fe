"""Cross-attention maps, read while a network predicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


class CrossAttention:
    """The cross-attention layers of a network, whose maps can be read while :func:`readable` lasts."""

    def __init__(self) -> None:
        self._maps: list[Tensor] | None = None

    @contextmanager
    def maps(self) -> Iterator[list[Tensor]]:
        """Maps of what is predicted inside, one tensor ``(rows, heads, positions, tokens)`` per layer.

        They are in single precision, sum to 1 over tokens, and are part of the graph where gradients are recorded.
        """
        self._maps = []
        try:
            yield self._maps
        finally:
            self._maps = None

    def keep(self, probabilities: Tensor) -> None:
        """Add a layer's map."""
        if self._maps is not None:
            self._maps.append(probabilities)

    @property
    def wanted(self) -> bool:
        """Whether maps are being read now."""
        return self._maps is not None


@contextmanager
def readable(unet: Any) -> Iterator[CrossAttention]:
    """Make cross-attention maps readable.

    Where none is read, and in self-attention, the network's own processors compute. They are all that it has again at
    the end, whatever happens inside.
    """
    before = dict(unet.attn_processors)
    layers = CrossAttention()
    readers = {name: _Reader(layers, own) if ".attn2." in name else own for name, own in before.items()}
    unet.set_attn_processor(readers)
    try:
        yield layers
    finally:
        unet.set_attn_processor(before)


class _Reader:
    """Attention written out where its probabilities are wanted. Scores and softmax are in single precision."""

    def __init__(self, layers: CrossAttention, own: Any) -> None:
        self._layers = layers
        self._own = own

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **options: Any
    ) -> Tensor:
        if not self._layers.wanted or encoder_hidden_states is None:
            predicted: Tensor = self._own(attn, hidden_states, encoder_hidden_states, **options)
            return predicted
        projected = (
            attn.to_q(hidden_states),
            attn.to_k(encoder_hidden_states),
            attn.to_v(encoder_hidden_states),
        )
        query, key, value = (given.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for given in projected)
        probabilities = ((query.float() * attn.scale) @ key.float().transpose(-1, -2)).softmax(-1)
        self._layers.keep(probabilities)
        mixed = (probabilities.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        out: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return out
