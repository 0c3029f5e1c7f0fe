"""The weights of one model in the networks of another one of the same make."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from operators.models.loading import ModelFiles, without_progress_bars

if TYPE_CHECKING:
    from operators.diffusion.family import StableDiffusion

_ENCODERS = ("text_encoder", "text_encoder_2")
_MAY_DIFFER = ("sample_size",)


@dataclass(frozen=True)
class Checkpoint:
    """What a model's folder puts in the place of a family's weights.

    Attributes:
        weights: parameters, and what they become.
        changes_text: whether it has a text encoder.
    """

    weights: list[tuple[Tensor, Tensor]]
    changes_text: bool


def check(files: ModelFiles, family: StableDiffusion) -> None:
    """Refuse a denoiser of another make, without loading it.

    Raises:
        ModelError: it is one.
    """
    own = json.loads(json.dumps(dict(family.unet.config), default=str))
    for name, value in files.json("unet/config.json").items():
        if not name.startswith("_") and name not in _MAY_DIFFER and name in own and own[name] != value:
            raise files.refuse(f"does not fit the model: its unet has {name} {value}, and the model's {own[name]}")


def checkpoint(files: ModelFiles, family: StableDiffusion) -> Checkpoint:
    """The weights of a folder, on the family's device and in its precision.

    Raises:
        ModelError: they can't be read, or are of networks of another make.
    """
    check(files, family)
    encoders = {name: encoder for name, (_, encoder) in zip(_ENCODERS, family.text_encoders, strict=False)}
    there = {name: encoder for name, encoder in encoders.items() if (files.folder / name).is_dir()}
    weights = _weights(files, "unet", family.unet, family, torch.channels_last)
    for name, encoder in there.items():
        weights += _weights(files, name, encoder, family, torch.preserve_format)
    return Checkpoint(weights, bool(there))


def _weights(
    files: ModelFiles, part: str, network: Any, family: StableDiffusion, layout: torch.memory_format
) -> list[tuple[Tensor, Tensor]]:
    try:
        with without_progress_bars():
            other = type(network).from_pretrained(
                files.part(part), use_safetensors=files.use_safetensors, torch_dtype=family.dtype
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise files.refuse(f"can't be read: {part}: {reason}") from None
    found = {name: values.data for name, values in other.to(family.device, memory_format=layout).named_parameters()}
    own = dict(network.named_parameters())
    unlike = [name for name in own.keys() | found.keys() if _shape(own, name) != _shape(found, name)]
    if unlike:
        name = min(unlike)
        raise files.refuse(
            f"does not fit the model: its {part}.{name} is {_shape(found, name)}, and the model's {_shape(own, name)}"
        )
    return [(parameter, found[name]) for name, parameter in own.items()]


def _shape(held: dict[str, Any], name: str) -> tuple[int, ...] | None:
    return tuple(held[name].shape) if name in held else None
