"""Cross-attention weights and words learnt together, as files hold them (Custom Diffusion, Kumari et al. 2023)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from operators.diffusion.learned import embedding
from operators.diffusion.vocabulary import Embedding
from operators.models.adapters import AdapterFiles

if TYPE_CHECKING:
    from operators.diffusion.family import StableDiffusion

_PARAMETER = re.compile(r"(?:unet\.)?(.+?)(?:\.processor)?\.(to_[qkv]|to_out)_custom_diffusion(\.0)?\.(weight|bias)")


@dataclass(frozen=True)
class Customised:
    """What one file of weights changes.

    Attributes:
        weights: parameters of cross-attention, and what they become.
        words: those that were learnt with them.
    """

    weights: list[tuple[Tensor, Tensor]]
    words: list[Embedding]


def customised(files: AdapterFiles, family: StableDiffusion) -> Customised:
    """The weights that a file holds, and the words in the files called as ``<new1>.safetensors`` beside it.

    Raises:
        ModelError: a file holds anything else, or something of another model.
    """
    held = files.read()
    if not isinstance(held, dict):
        raise files.refuse("holds no tensors by name")
    # In a pickle, layers that were not trained are there with nothing in them.
    weights = [_pair(files, family, key, value) for key, value in held.items() if isinstance(value, Tensor)]
    if not weights:
        raise files.refuse("holds nothing")
    words = [family.vocabulary.learn(embedding(files, path, family)) for path in files.beside("<*>")]
    return Customised(weights, words)


def _pair(files: AdapterFiles, family: StableDiffusion, key: str, value: Tensor) -> tuple[Tensor, Tensor]:
    found = _PARAMETER.fullmatch(key)
    if found is None:
        raise files.refuse(f"holds no weights of Custom Diffusion: it has {key}")
    layer, projection, first, kind = found.groups(default="")
    try:
        parameter = family.unet.get_parameter(f"{layer}.{projection}{first}.{kind}")
    except AttributeError:
        raise files.refuse(f"does not fit the model, which has no {layer}.{projection}") from None
    if parameter.shape != value.shape:
        raise files.refuse(
            f"does not fit the model: {layer}.{projection} is {tuple(parameter.shape)}, and not {tuple(value.shape)}"
        )
    return parameter, value.to(parameter)
