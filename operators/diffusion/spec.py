"""What every step that runs a diffusion model has in its spec."""

from __future__ import annotations

from abc import ABC
from typing import Annotated, ClassVar

from pydantic import Field

from operators.base import Column, Spec
from operators.diffusion.sizes import WIDEST
from operators.models.loading import ModelFiles, Precision, diffusion_files
from operators.models.ref import ModelRef, Origin

Side = Annotated[int, Field(ge=8, le=WIDEST)] | Column | None
"""Width or height in pixels; the model's own where it is None."""


class DiffusionSpec(Spec, ABC):
    """A step over one Stable Diffusion model."""

    compiles: ClassVar[bool] = True
    own_channels: ClassVar[tuple[int, ...]] = (0,)
    """Channels that the step itself can give the network beside the latents."""

    model: ModelRef = Field(ModelRef("builtin:stable-diffusion"), description="a Stable Diffusion 1.x, 2.x or XL model")
    precision: Precision = Field(
        Precision.AUTO, description="of the networks; auto is half on an accelerator, single elsewhere"
    )
    allow_pickle: bool = Field(False, description="take weights that are a pickle; reading one can run any code")

    @property
    def extra_channels(self) -> tuple[int, ...]:
        """Channels that the network can be given beside the latents."""
        return self.own_channels

    @property
    def parts(self) -> tuple[str, ...]:
        """Subfolders of the model whose weights are loaded."""
        return ("text_encoder", "unet", "vae")

    @property
    def is_labelled(self) -> bool:
        """Whether the step tells the network of a picture beside the text."""
        return False

    @property
    def usual_guidance(self) -> float:
        """The guidance scale where none is given."""
        return 3.0 if self.model.origin is Origin.BUILTIN else 7.5

    def models(self) -> tuple[ModelRef, ...]:
        """The diffusion model."""
        return (self.model,)

    def stage(self) -> None:
        """Have the model's files on this machine; errors as in :meth:`Spec.stage`."""
        self.files()

    def digests(self) -> dict[str, str]:
        """SHA-256 of the model's weights; errors as in :meth:`Spec.stage`."""
        return {str(self.model): self.files().digest}

    def files(self) -> ModelFiles:
        """The model's files on this machine."""
        return diffusion_files(self.model, self.allow_pickle, self.parts)
