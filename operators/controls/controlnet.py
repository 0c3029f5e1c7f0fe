"""ControlNet: hold what is generated to edges, depth, poses and the like (Zhang et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from operators.controls.base import Touches
from operators.controls.pictured import Networked, NetworkSpec, Row
from operators.models.loading import ModelFiles, load_network

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion

_ALIKE = ("block_out_channels", "layers_per_block", "cross_attention_dim")


class ControlNet(NetworkSpec):
    """Hold the picture to another one, by a copy of the network's way down that was trained for such pictures."""

    kind: ClassVar[str] = "controlnet"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.RESIDUALS})
    network: ClassVar[str] = "ControlNetModel"

    guess_mode: bool = Field(
        False, description="find out what the condition shows without a prompt: it acts on the conditional side alone"
    )

    def load(self, family: StableDiffusion, allow_pickle: bool) -> LoadedControlNet:
        """Load the network; errors as in :meth:`ControlSpec.load`."""
        return LoadedControlNet(self, family, self.files(allow_pickle))


class LoadedControlNet(Networked[ControlNet]):
    """A loaded ControlNet.

    Raises:
        ModelError: it was made for another model.
    """

    def __init__(self, spec: ControlNet, family: StableDiffusion, files: ModelFiles) -> None:
        import diffusers
        import torch

        super().__init__(spec, family, files)
        network = load_network(diffusers.ControlNetModel, files, family.device, torch_dtype=family.dtype)
        network.to(memory_format=torch.channels_last)
        check_made_for(network.config, family, files)
        # The condition does not change from step to step: it is encoded ahead of the network and given to it encoded.
        self._encoder, network.controlnet_cond_embedding = network.controlnet_cond_embedding, torch.nn.Identity()
        self._is_bgr = network.config.controlnet_conditioning_channel_order == "bgr"
        network.register_to_config(controlnet_conditioning_channel_order="rgb")
        self._network = network
        self._guess = spec.guess_mode or bool(network.config.global_pool_conditions)

    def shown(self, picture: Image, width: int, height: int) -> Tensor:
        """``(3, height, width)`` in 0..1."""
        from operators.diffusion.rendering import fitted

        return fitted(picture, width, height) / 2 + 0.5

    def join(self, denoising: Denoising, asked: list[Row]) -> None:
        """Encode the condition pictures, and add what the network makes of them."""
        import torch

        from operators.diffusion.residuals import ControlNetResiduals
        from operators.diffusion.strengths import strengths

        pictures = torch.stack([row["shown"] for row in asked]).to(self.family.device, self.family.dtype)
        encoded = self._encoder(pictures.flip(1) if self._is_bgr else pictures)
        without = (0,) if self._guess and denoising.guided else ()
        denoising.conditionings.append(
            ControlNetResiduals(self._network, encoded, strengths(denoising, asked), self._guess, without)
        )


def check_made_for(config: Any, family: StableDiffusion, files: ModelFiles) -> None:
    """Refuse a network with other sizes inside than the one that it is to control.

    Raises:
        ModelError: it has.
    """
    for name in _ALIKE:
        own, wanted = config[name], family.unet.config[name]
        if own != wanted:
            raise files.refuse(f"has {name} {own}, but the step's model {wanted}: it was trained for another model")
    pixels = 2 ** (len(config.conditioning_embedding_out_channels) - 1)
    if pixels != family.factor:
        raise files.refuse(f"has {pixels} pixels per latent, but the step's model {family.factor}")
