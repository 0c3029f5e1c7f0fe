"""Low-rank changes of weights, as files hold them and as networks take them (LoRA, Hu et al. 2021)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from torch import Tensor
from torch.nn import Module

from operators.diffusion.weights import Weights
from operators.models.adapters import AdapterFiles

if TYPE_CHECKING:
    from operators.diffusion.family import StableDiffusion

_FACTOR = re.compile(
    r"(?P<network>unet|text_encoder(?:_2)?)\.(?P<module>.+?)[._]lora(?:_linear_layer)?"
    r"(?:\.(?P<down>down)|\.(?P<up>up)|_(?P<a>A)|_(?P<b>B))(?:\.default)?\.weight"
)
_OLD_NAMES = {
    "unet": {"to_out": "to_out.0"},
    "text_encoder": {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"},
}

Place = tuple[str, str]
"""A network, and a module in it."""


@dataclass(frozen=True)
class Change:
    """What is added to one weight: ``scale * up @ down``.

    Attributes:
        weight: the parameter, ``(out, in)`` or ``(out, in, h, w)``.
        down: ``(rank, in)`` or ``(rank, in, h, w)``.
        up: ``(out, rank)`` or ``(out, rank, 1, 1)``.
        scale: ``alpha / rank``.
    """

    weight: Tensor
    down: Tensor
    up: Tensor
    scale: float

    def added(self, amount: float) -> Tensor:
        """The weight as it is now with ``amount`` of the change, in its own dtype (eq. 3)."""
        low = self.up.flatten(1).float() @ self.down.flatten(1).float()
        now = self.weight.data
        return (now.float() + amount * self.scale * low.view_as(now)).to(now)


@dataclass(frozen=True)
class Adapter:
    """What one file changes.

    Attributes:
        changes: of every weight.
        changes_text: whether a text encoder is among the networks.
    """

    changes: list[Change]
    changes_text: bool

    def weights(self, amount: float) -> Weights:
        """Each weight, and what it becomes with ``amount`` of the adapter."""
        return [(change.weight, change.added(amount)) for change in self.changes]


def adapter(files: AdapterFiles, family: StableDiffusion) -> Adapter:
    """The changes that a file holds, in the form of diffusers, of PEFT, or of kohya's trainer.

    Raises:
        ModelError: the file holds anything else, or changes of another model.
    """
    factors, alphas = _read(files, family)
    networks: dict[str, Module] = {"unet": family.unet}
    networks |= dict(zip(("text_encoder", "text_encoder_2"), (each for _, each in family.text_encoders), strict=False))
    changes = []
    for place, (down, up) in factors.items():
        weight = _weight(files, networks, place)
        if up.shape[1] != down.shape[0] or len(up) * down[0].numel() != weight.numel() or len(up) != len(weight):
            raise files.refuse(
                f"does not fit the model: {'.'.join(place)} is {tuple(weight.shape)}, and the adapter's factors "
                f"{tuple(up.shape)} and {tuple(down.shape)}"
            )
        rank = len(down)
        changes.append(
            Change(weight, down.to(family.device), up.to(family.device), alphas.get(place, float(rank)) / rank)
        )
    return Adapter(changes, any(network != "unet" for network, _ in factors))


def _read(
    files: AdapterFiles, family: StableDiffusion
) -> tuple[dict[Place, tuple[Tensor, Tensor]], dict[Place, float]]:
    """Factors down and up, and alphas, by the module that they are of."""
    loader = StableDiffusionLoraLoaderMixin if len(family.text_encoders) == 1 else StableDiffusionXLLoraLoaderMixin
    held = files.read()
    if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
        raise files.refuse("holds no tensors by name")
    if scaled := [key for key in held if "dora_scale" in key or "lora_magnitude" in key]:
        raise files.refuse(f"is a DoRA, which is not taken here: {scaled[0]}")
    try:
        tensors, alphas = loader.lora_state_dict(dict(held), unet_config=family.unet.config)
    except (ValueError, KeyError, IndexError) as error:
        raise files.refuse(f"is no LoRA of a form that is known: {str(error).strip().splitlines()[0]}") from None
    factors: dict[Place, dict[bool, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        found = _FACTOR.fullmatch(key)
        if not found:
            raise files.refuse(f"is no LoRA of a form that is known: it has {key}")
        factors[_place(found)][bool(found["up"] or found["b"])] = tensor
    if half := [".".join(place) for place, pair in factors.items() if len(pair) < 2]:
        raise files.refuse(f"has only one of two factors for {half[0]}")
    if not factors:
        raise files.refuse("holds nothing")
    named = {_alpha_place(key): float(alpha) for key, alpha in (alphas or {}).items()}
    return {place: (pair[False], pair[True]) for place, pair in factors.items()}, named or _alphas(files, factors)


def _alphas(files: AdapterFiles, factors: Mapping[Place, Mapping[bool, Tensor]]) -> dict[Place, float]:
    """Alphas as PEFT's configuration tells them, where the file has one in its metadata."""
    told: dict[str, Any] = files.metadata("lora_adapter_metadata")
    alphas = {}
    for network, module in factors:
        config = {
            key.removeprefix(f"{network}."): value for key, value in told.items() if key.startswith(f"{network}.")
        }
        if not config:
            continue
        if config.get("use_dora"):
            raise files.refuse("is a DoRA, which is not taken here")
        patterns = config.get("alpha_pattern") or {}
        fitting = (alpha for pattern, alpha in patterns.items() if re.fullmatch(rf"(.*\.)?({pattern})", module))
        rank = len(factors[network, module][False])
        alpha = float(next(fitting, config.get("lora_alpha", rank)))
        alphas[network, module] = alpha * rank**0.5 if config.get("use_rslora") else alpha
    return alphas


def _place(found: re.Match[str]) -> Place:
    network, module = found["network"], found["module"].replace(".processor.", ".")
    before, _, last = module.rpartition(".")
    last = _OLD_NAMES[network.removesuffix("_2")].get(last, last)
    return network, f"{before}.{last}" if before else last


def _alpha_place(key: str) -> Place:
    name = key.removesuffix(".alpha")
    found = _FACTOR.fullmatch(name) or _FACTOR.fullmatch(f"{name}.lora.down.weight")
    if found is None:
        network, _, module = name.partition(".")
        return network, module
    return _place(found)


def _weight(files: AdapterFiles, networks: Mapping[str, Module], place: Place) -> Tensor:
    network, module = place
    for name in (module, module.removeprefix("text_model.")):
        try:
            weight: Tensor = networks[network].get_parameter(f"{name}.weight")
        except (KeyError, AttributeError):
            continue
        return weight
    raise files.refuse(f"does not fit the model, which has no {network}.{module}")
