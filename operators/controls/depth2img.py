"""Depth to image: keep how near things are, by a model that is shown depth beside the latents (Rombach et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from operators.controls.base import Touches
from operators.controls.pictured import Pictured, PicturedSpec, Row
from operators.models.loading import ModelFiles
from operators.models.ref import ModelRef

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion

_OWN = "depth_estimator"


class Depth2Img(PicturedSpec):
    """Hold the picture to the depth of another one. For models of 5 channels, as of Stable Diffusion 2."""

    kind: ClassVar[str] = "depth2img"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.CHANNELS, Touches.OWN_MODEL})
    extra_channels: ClassVar[int] = 1

    image: Annotated[str, Field(min_length=1)] = Field(
        "image", description="column of pictures to estimate depth from; scaled and cropped to width x height"
    )
    depth: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="column of depth pictures, the brighter the nearer, in place of estimates"
    )
    depth_model: ModelRef | None = Field(
        None, description="estimates depth, a depth model of transformers; the one in the step's own model unless given"
    )

    @model_validator(mode="after")
    def _one_depth(self) -> Self:
        if self.depth is not None and self.depth_model is not None:
            raise ValueError("depth_model estimates what `depth` has already: give one or the other")
        return self

    @property
    def pictures(self) -> str:
        """Where depth is read from, or what it is estimated from."""
        return self.image if self.depth is None else self.depth

    @property
    def parts(self) -> tuple[str, ...]:
        """The depth model in the step's own model, where that one estimates."""
        return (_OWN,) if self.depth is None and self.depth_model is None else ()

    def models(self) -> tuple[ModelRef, ...]:
        """The depth model, if it is not the step's own."""
        return () if self.depth_model is None else (self.depth_model,)

    def stage(self, allow_pickle: bool) -> None:
        """Have the depth model's files on this machine; errors as in :meth:`operators.base.Spec.stage`."""
        self.files(allow_pickle)

    def digests(self, allow_pickle: bool) -> dict[str, str]:
        """SHA-256 of the depth model's weights; errors as in :meth:`operators.base.Spec.stage`."""
        files = self.files(allow_pickle)
        return {} if files is None else {str(files.ref): files.digest}

    def files(self, allow_pickle: bool) -> ModelFiles | None:
        """The depth model's files on this machine, if it is not the step's own."""
        return None if self.depth_model is None else ModelFiles(self.depth_model, allow_pickle=allow_pickle)

    def load(self, family: StableDiffusion, allow_pickle: bool) -> LoadedDepth2Img:
        """Load the depth model, if there is one; errors as in :meth:`ControlSpec.load`."""
        return LoadedDepth2Img(self, family, self.files(allow_pickle))


class LoadedDepth2Img(Pictured[Depth2Img]):
    """Depth as channels beside the latents.

    Raises:
        ModelError: the depth model can't be had, or is none.
    """

    def __init__(self, spec: Depth2Img, family: StableDiffusion, files: ModelFiles | None) -> None:
        super().__init__(spec, family)
        self._files = files
        self._estimator: Any = None
        if spec.depth is None:
            from operators.models.depth import DepthModel

            given = (family.files, family.device, _OWN, "feature_extractor")
            self._estimator = DepthModel(*given) if files is None else DepthModel(files, family.device)

    def digests(self) -> dict[str, str]:
        """SHA-256 of the depth model's weights."""
        return {} if self._files is None else {str(self._files.ref): self._files.digest}

    def shown(self, picture: Image, width: int, height: int) -> Tensor:
        """``(h, w)``, how near things are; or ``(3, h, w)``, the picture as the depth model takes it."""
        from operators.diffusion.rendering import fitted

        if self._estimator is None:
            return fitted(picture.convert("L").convert("RGB"), width, height)[0]
        from PIL import Image, ImageOps

        viewed: Tensor = self._estimator.viewed(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS))
        return viewed

    def group(self, asked: Row) -> tuple[int, ...]:
        """Pictures that the depth model takes at one size."""
        return tuple(asked["shown"].shape)

    def join(self, denoising: Denoising, asked: list[Row]) -> None:
        """Show the network the depth, at the size of latents and from -1 to 1 in every row."""
        import torch
        from torch.nn import functional

        from operators.models.depth import between

        shown = torch.stack([row["shown"] for row in asked])
        nearness = shown.to(self.family.device) if self._estimator is None else self._estimator(shown)
        width, height = (side // self.family.factor for side in asked[0]["size"])
        small = functional.interpolate(
            nearness[:, None].float(), size=(height, width), mode="bicubic", align_corners=False
        )
        denoising.channels = between(small, -1.0, 1.0)
