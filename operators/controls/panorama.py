"""Panoramas: pictures of any shape from a network trained on squares (MultiDiffusion, Bar-Tal et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from operators.controls.base import Control, ControlSpec, Touches

if TYPE_CHECKING:
    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion

_BEYOND = 8
"""Latents that the decoder is shown beyond the edges of a picture that goes around."""


class Panorama(ControlSpec):
    """Predict in windows of the size that the network was trained on, and take the mean where they overlap."""

    kind: ClassVar[str] = "panorama"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.WINDOWS})

    window: int | None = Field(
        None, ge=1, description="side of a window in latents, 8 pixels each in SD; the model's own size unless given"
    )
    stride: int | None = Field(
        None, ge=1, description="latents from one window to the next, a window's at most; an eighth unless given"
    )
    circular: bool = Field(
        False, description="whether the right edge goes on at the left one, for a view all around without a seam"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ValueError(f"stride is {self.stride}: windows of {self.window} would leave gaps")
        return self

    def load(self, family: StableDiffusion, allow_pickle: bool) -> MultiDiffusion:  # noqa: ARG002
        """There is nothing to load."""
        return MultiDiffusion(self, family)


class MultiDiffusion(Control[Panorama, dict[str, Any]]):
    """Loaded MultiDiffusion."""

    @contextmanager
    def installed(self, asked: dict[str, Any]) -> Iterator[None]:  # noqa: ARG002
        """What goes around is decoded so."""
        with self.family.decoding_around(_BEYOND if self.spec.circular else 0):
            yield

    def join(self, denoising: Denoising, asked: list[dict[str, Any]]) -> None:  # noqa: ARG002
        """Show the network the latents in windows."""
        from operators.diffusion.windows import Windowed

        side = self.spec.window or self.family.size // self.family.factor
        stride = min(self.spec.stride or max(side // 8, 1), side)
        denoising.windowed = partial(Windowed, side=side, stride=stride, circular=self.spec.circular)
