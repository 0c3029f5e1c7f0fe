"""Attention maps, read while a network predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


class AttentionMaps:
    """Layers of a network whose attention maps can be read while :func:`readable` lasts."""

    def __init__(self) -> None:
        self._maps: dict[str, Tensor] | None = None

    @contextmanager
    def maps(self) -> Iterator[dict[str, Tensor]]:
        """Maps of what is predicted inside, ``(rows, heads, positions, tokens)`` by name of the layer.

        In self-attention the tokens are positions. Of several predictions the last one's are held. They are in single
        precision, sum to 1 over tokens, and are part of the graph where gradients are recorded.
        """
        self._maps = {}
        try:
            yield self._maps
        finally:
            self._maps = None

    def keep(self, name: str, probabilities: Tensor) -> None:
        """Hold a layer's map, if maps are being read now."""
        if self._maps is not None:
            self._maps[name] = probabilities

    @property
    def wanted(self) -> bool:
        """Whether maps are being read now."""
        return self._maps is not None


def is_cross(name: str) -> bool:
    """Whether the layer of this name attends to text."""
    return ".attn2." in name


@contextmanager
def readable(unet: Any, chosen: Callable[[str], bool] = is_cross) -> Iterator[AttentionMaps]:
    """Make the attention maps of layers readable.

    Where none is read, and in other layers, the network's own processors compute. They are all that it has again at the
    end, whatever happens inside. What several make readable at once, each can read.

    Args:
        unet: the network.
        chosen: tells by its name whether a layer is to be read.
    """
    before = dict(unet.attn_processors)
    layers = AttentionMaps()
    unet.set_attn_processor({name: _reader(name, own, layers) if chosen(name) else own for name, own in before.items()})
    try:
        yield layers
    finally:
        unet.set_attn_processor(before)


def latents_per_position(name: str, levels: int) -> int:
    """How many latents a position of an attention layer stands for, in each direction.

    Args:
        name: of the layer.
        levels: resolutions that the network computes at, each half of the one before.
    """
    block, at = name.split(".")[:2]
    match block:
        case "down_blocks":
            return 1 << int(at)
        case "up_blocks":
            return 1 << levels - 1 - int(at)
    return 1 << levels - 1


def map_size(height: int, width: int, latents: int) -> tuple[int, int]:
    """Height and width of the maps of layers in which a position stands for so many latents in each direction."""
    while latents > 1:
        height, width, latents = (height + 1) // 2, (width + 1) // 2, latents // 2
    return height, width


def _reader(name: str, own: Any, layers: AttentionMaps) -> _Reader:
    if isinstance(own, _Reader):
        return _Reader(name, own.own, (*own.readers, layers))
    return _Reader(name, own, (layers,))


class _Reader:
    """Attention written out where its probabilities are wanted. Scores and softmax are in single precision."""

    def __init__(self, name: str, own: Any, readers: tuple[AttentionMaps, ...]) -> None:
        self.own, self.readers = own, readers
        self._name = name

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **options: Any
    ) -> Tensor:
        if not any(layers.wanted for layers in self.readers):
            predicted: Tensor = self.own(attn, hidden_states, encoder_hidden_states, **options)
            return predicted
        attended = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = attn.to_q(hidden_states), attn.to_k(attended), attn.to_v(attended)
        query, key, value = (given.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for given in projected)
        probabilities = ((query.float() * attn.scale) @ key.float().transpose(-1, -2)).softmax(-1)
        for layers in self.readers:
            layers.keep(self._name, probabilities)
        mixed = (probabilities.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        out: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return out
