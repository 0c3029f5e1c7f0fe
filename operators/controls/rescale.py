"""Rescaled guidance: keep strong guidance from overexposing pictures (Lin et al. 2024, section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from operators.base import Column, Kind
from operators.controls.base import Control, ControlSpec, Touches
from operators.diffusion.loop import Method

if TYPE_CHECKING:
    from torch import Tensor

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion


class Rescale(ControlSpec):
    """Give the guided prediction the spread of the conditional one."""

    kind: ClassVar[str] = "rescale"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.PREDICTION})
    per_row: ClassVar[dict[str, Kind]] = {"share": Kind.NUMBER}

    share: Annotated[float, Field(ge=0, le=1)] | Column = Field(0.7, description="of the rescaled prediction, 0..1")

    def load(self, family: StableDiffusion, allow_pickle: bool) -> RescaledGuidance:  # noqa: ARG002
        """There is nothing to load."""
        return RescaledGuidance(self, family)


class RescaledGuidance(Control[Rescale, dict[str, Any]]):
    """Loaded rescaling."""

    def join(self, denoising: Denoising, asked: list[dict[str, Any]]) -> None:
        """Rescale what all controls before this one have made of the prediction."""
        shares = denoising.guidance_scale.new_tensor([row["share"] for row in asked])
        denoising.methods.append(Rescaling(shares, denoising.conditional))


class Rescaling(Method):
    """The rescaled prediction ``share * x * std(conditional) / std(x) + (1 - share) * x`` (eq. 15 and 16)."""

    def __init__(self, shares: Tensor, conditional: int) -> None:
        self._shares, self._conditional = shares.view(-1, 1, 1, 1), conditional

    def combine(self, predicted: Tensor, passes: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """Of predictions ``(n, c, h, w)``, each row by its own deviation."""
        spreads = [given.std((1, 2, 3), keepdim=True) for given in (passes[self._conditional], predicted)]
        return predicted.lerp(predicted * spreads[0] / spreads[1], self._shares)
