"""Vision transformers as metrics look with them: CLIP (Radford et al. 2021), DINO (Caron et al. 2021) and their kin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer, CLIPModel

from operators.models.loading import ModelFiles, load_network, load_processor

_KEYS = ("k_proj", "key")


@dataclass(frozen=True)
class Features:
    """What a transformer makes of ``n`` pictures, each of ``t`` tokens.

    Attributes:
        pooled: ``(n, d)``, of whole pictures.
        keys: ``(n, t, d)`` of the last layer's attention, all heads side by side.
        layers: ``(n, patches, d)`` that each layer puts out, without the tokens that stand for no patch; none unless
            they were asked for.
    """

    pooled: Tensor
    keys: Tensor
    layers: tuple[Tensor, ...]


class VisionTransformer:
    """A loaded vision transformer of transformers. It computes in single precision.

    Args:
        files: of the model.
        device: where it runs.

    Raises:
        ModelError: it is none, or is without ``preprocessor_config.json``.
    """

    def __init__(self, files: ModelFiles, device: torch.device) -> None:
        self.files = files
        self._processor = load_processor(files, backend="pil")
        self._whole = load_network(AutoModel, files, device, dtype=torch.float32)
        self._network: Any = getattr(self._whole, "vision_model", self._whole)
        keys = [layer for name, layer in self._network.named_modules() if name.rpartition(".")[2] in _KEYS]
        if not keys:
            raise files.refuse(f"is a {type(self._whole).__name__}, which has no attention between patches")
        self._keys = keys[-1]
        self._device = device

    @property
    def side(self) -> int:
        """Pixels of a side of the square pictures that it was made for."""
        size = self._network.config.image_size
        return int(size[0] if isinstance(size, Sequence) else size)

    def viewed(self, pictures: Tensor) -> Tensor:
        """Pictures ``(n, 3, h, w)`` of bytes as the network was trained to take them: ``(n, 3, side, side)``."""
        pixels: Tensor = self._processor(list(pictures.cpu().numpy()), return_tensors="pt").pixel_values
        return pixels.to(self._device)

    def __call__(self, pixels: Tensor, with_layers: bool = False) -> Features:
        """Look at pixels ``(n, 3, h, w)``; of another size than the network's own, positions are interpolated."""
        kept: list[Tensor] = []
        hook = self._keys.register_forward_hook(lambda *seen: kept.append(seen[-1]))
        other = {} if pixels.shape[-2:] == (self.side, self.side) else {"interpolate_pos_encoding": True}
        try:
            out = self._network(pixel_values=pixels, output_hidden_states=with_layers, **other)
        finally:
            hook.remove()
        patch = int(self._network.config.patch_size)
        patches = (pixels.shape[-2] // patch) * (pixels.shape[-1] // patch)
        layers = tuple(layer[:, -patches:] for layer in out.hidden_states[1:]) if with_layers else ()
        return Features(out.pooler_output, kept[-1], layers)


class Clip(VisionTransformer):
    """A loaded CLIP, which also reads.

    Args:
        files: of the model.
        device: where it runs.

    Raises:
        ModelError: it is no CLIP.
    """

    def __init__(self, files: ModelFiles, device: torch.device) -> None:
        super().__init__(files, device)
        if not isinstance(self._whole, CLIPModel):
            raise files.refuse(f"is a {type(self._whole).__name__}; texts are held against pictures by a CLIPModel")
        self._tokenizer = AutoTokenizer.from_pretrained(files.folder)

    @property
    def width(self) -> int:
        """Numbers of an embedding."""
        return int(self._whole.config.projection_dim)

    def embedded(self, features: Features) -> Tensor:
        """Embeddings ``(n, k)`` of length 1 of the pictures that features are of."""
        return normalize(self._whole.visual_projection(features.pooled))

    def read(self, texts: Sequence[str]) -> Tensor:
        """Embeddings ``(n, k)`` of length 1 of texts; what is longer than the model takes in is cut off."""
        longest = self._whole.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=longest, return_tensors="pt"
        ).to(self._device)
        out = self._whole.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        return normalize(self._whole.text_projection(out.pooler_output))


_LOADED: WeakValueDictionary[tuple[str, torch.device], VisionTransformer] = WeakValueDictionary()


def load_vision(files: ModelFiles, device: torch.device) -> VisionTransformer:
    """The transformer in a folder, a :class:`Clip` where it is one; steps of one process share it.

    Raises:
        ModelError: there is no vision transformer.
    """
    key = (str(files.folder), device)
    found = _LOADED.get(key)
    if found is None:
        kind = Clip if files.json("config.json").get("model_type") == "clip" else VisionTransformer
        found = _LOADED[key] = kind(files, device)
    return found
