"""What every step that runs a diffusion model has in its spec."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from pydantic import Field

from operators.base import Spec
from operators.models.loading import ModelFiles, Precision, diffusion_files
from operators.models.ref import ModelRef


class DiffusionSpec(Spec, ABC):
    """A step over one Stable Diffusion model."""

    compiles: ClassVar[bool] = True

    model: ModelRef = Field(ModelRef("builtin:stable-diffusion"), description="a Stable Diffusion 1.x, 2.x or XL model")
    precision: Precision = Field(
        Precision.AUTO, description="of the networks; auto is half on an accelerator, single elsewhere"
    )
    allow_pickle: bool = Field(False, description="take weights that are a pickle; reading one can run any code")

    def models(self) -> tuple[ModelRef, ...]:
        """The diffusion model."""
        return (self.model,)

    def stage(self) -> None:
        """Have the model's files on this machine; errors as in :meth:`Spec.stage`."""
        self.files()

    def files(self) -> ModelFiles:
        """The model's files on this machine."""
        return diffusion_files(self.model, self.allow_pickle)
