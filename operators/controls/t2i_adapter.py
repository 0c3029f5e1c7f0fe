"""T2I-Adapter: hold what is generated to sketches, colours, poses and the like, at little cost (Mou et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from operators.controls.base import Touches
from operators.controls.pictured import Networked, NetworkSpec, Row
from operators.errors import ValueInvalidError
from operators.models.loading import ModelFiles, load_network

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion


class T2IAdapter(NetworkSpec):
    """Hold the picture to another one, by features that are computed once and not at every step."""

    kind: ClassVar[str] = "t2i_adapter"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.RESIDUALS})
    network: ClassVar[str] = "T2IAdapter"

    def load(self, family: StableDiffusion, allow_pickle: bool) -> LoadedT2IAdapter:
        """Load the network; errors as in :meth:`ControlSpec.load`."""
        return LoadedT2IAdapter(self, family, self.files(allow_pickle))


class LoadedT2IAdapter(Networked[T2IAdapter]):
    """A loaded T2I-Adapter.

    Raises:
        ModelError: it was made for another model.
    """

    def __init__(self, spec: T2IAdapter, family: StableDiffusion, files: ModelFiles) -> None:
        import diffusers

        super().__init__(spec, family, files)
        self._network = load_network(diffusers.T2IAdapter, files, family.device, torch_dtype=family.dtype)
        kind = self._network.config.adapter_type
        if (kind == "full_adapter_xl") != (family.unet.config.down_block_types[0] == "DownBlock2D"):
            raise files.refuse(f"is a {kind}, which the step's model has no places for")
        own, wanted = tuple(self._network.config.channels), tuple(family.unet.config.block_out_channels)
        shared = min(len(own), len(wanted))
        if own[:shared] != wanted[:shared]:
            raise files.refuse(
                f"has channels {own}, but the step's model has {wanted}: it was trained for another model"
            )
        self._is_grey = self._network.config.in_channels == 1

    def shown(self, picture: Image, width: int, height: int) -> Tensor:
        """``(3, height, width)`` in 0..1, or one channel where the network takes grey pictures."""
        from operators.diffusion.rendering import fitted

        cell = self._network.downscale_factor
        if width % cell or height % cell:
            raise ValueInvalidError(
                f"the picture is to have {width} x {height} pixels, but {self.spec.model} takes multiples of {cell}"
            )
        if self._is_grey:
            return fitted(picture.convert("L").convert("RGB"), width, height)[:1] / 2 + 0.5
        return fitted(picture, width, height) / 2 + 0.5

    def join(self, denoising: Denoising, asked: list[Row]) -> None:
        """Add the features of the condition pictures."""
        import torch

        from operators.diffusion.residuals import AdapterFeatures
        from operators.diffusion.strengths import strengths

        pictures = torch.stack([row["shown"] for row in asked]).to(self.family.device, self.family.dtype)
        height, width = (side // self.family.factor for side in pictures.shape[-2:])
        features = tuple(self._network(pictures))
        denoising.conditionings.append(AdapterFeatures(features, (height, width), strengths(denoising, asked)))
