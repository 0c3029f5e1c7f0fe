"""Semantic guidance: move what is generated towards or away from concepts (SEGA, Brack et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from operators.base import Column, Kind, column_options
from operators.controls.base import Control, ControlSpec, OptionsWithParts, Touches, row_options, with_parts
from operators.diffusion.loop import Method
from operators.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    import torch
    from torch import Tensor

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion

_PER_CONCEPT = {
    "prompt": Kind.TEXT,
    "direction": Kind.TEXT,
    "guidance_scale": Kind.NUMBER,
    "warmup": Kind.INTEGER,
    "cooldown": Kind.INTEGER,
    "threshold": Kind.NUMBER,
    "weight": Kind.NUMBER,
}
_NEVER = 1 << 30


class Concept(BaseModel):
    """A concept to move along. A row in which its prompt is empty is without it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str | Column = Field(description="the concept, in words; none where it is empty")
    direction: Literal["towards", "away"] | Column = Field(
        "towards", description="`towards` the concept or `away` from it"
    )
    guidance_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column = Field(5.0, description="how strongly")
    warmup: Annotated[int, Field(ge=0)] | Column = Field(10, description="steps before it begins")
    cooldown: Annotated[int, Field(ge=0)] | Column | None = Field(
        None, description="steps after which it ends; never unless given"
    )
    threshold: Annotated[float, Field(ge=0, le=1)] | Column = Field(
        0.9, description="share of the latents that it leaves alone, those that it concerns least"
    )
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column = Field(
        1.0, description="of the concept among the others"
    )


class Sega(ControlSpec):
    """Move along concepts, each within the part of the picture that it concerns most."""

    kind: ClassVar[str] = "sega"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.PASSES, Touches.TEXT})
    per_row: ClassVar[dict[str, Kind]] = {"momentum_scale": Kind.NUMBER, "momentum_beta": Kind.NUMBER}
    needs_unconditional: ClassVar[bool] = True

    concepts: Annotated[tuple[Concept, ...], Field(min_length=1)] = Field(description="what to move along")
    momentum_scale: Annotated[float, Field(ge=0, le=1)] | Column = Field(
        0.1, description="how much of the momentum is added at every step"
    )
    momentum_beta: Annotated[float, Field(ge=0, lt=1)] | Column = Field(
        0.4, description="how much of the momentum is kept from step to step"
    )

    def reads(self) -> dict[str, Kind]:
        """The columns that options name, also those of the concepts."""
        read = super().reads()
        for concept in self.concepts:
            read |= column_options(concept, _PER_CONCEPT)
        return read

    def load(self, family: StableDiffusion, allow_pickle: bool) -> SemanticGuidance:  # noqa: ARG002
        """There is nothing to load."""
        return SemanticGuidance(self, family)


class SemanticGuidance(Control[Sega, OptionsWithParts]):
    """Loaded SEGA."""

    def prepare(self, table: pa.Table, texts: Sequence[tuple[str, ...] | None]) -> list[OptionsWithParts | RowError]:  # noqa: ARG002
        """Options of the row and of each concept."""
        own = row_options(self.spec, self.spec.per_row, table)
        concepts = [row_options(concept, _PER_CONCEPT, table) for concept in self.spec.concepts]
        return with_parts(own, concepts)

    def texts(self, asked: OptionsWithParts) -> tuple[str, ...]:
        """The concepts."""
        return tuple(concept["prompt"] for concept in asked[1])

    def join(self, denoising: Denoising, asked: list[OptionsWithParts]) -> None:
        """Add a pass for each concept, and the term that comes of them."""
        passes = [
            denoising.add_pass(denoising.encode([concepts[at]["prompt"] for _, concepts in asked]))
            for at in range(len(self.spec.concepts))
        ]
        denoising.methods.append(SegaTerm(asked, passes, self.family.device))


class SegaTerm(Method):
    """The guidance of all concepts, added to that of the prompt (algorithm 1).

    Args:
        asked: options of every row.
        passes: of each concept.
        device: of the latents.
    """

    def __init__(self, asked: list[OptionsWithParts], passes: list[int], device: torch.device) -> None:
        import torch

        def per_row(name: str) -> Tensor:
            return torch.tensor([row[name] for row, _ in asked], device=device).view(-1, 1, 1, 1)

        def per_concept(values: list[list[float]]) -> Tensor:
            return torch.tensor(values, device=device).T

        concepts = [row for _, row in asked]
        present = per_concept([[bool(one["prompt"]) for one in row] for row in concepts])
        sign = per_concept([[-1.0 if one["direction"] == "away" else 1.0 for one in row] for row in concepts])
        self._scale = sign * per_concept([[one["guidance_scale"] for one in row] for row in concepts])
        self._threshold = per_concept([[one["threshold"] for one in row] for row in concepts])
        self._weight = per_concept([[one["weight"] for one in row] for row in concepts]) * present
        self._warmup = per_concept([[one["warmup"] for one in row] for row in concepts])
        self._cooldown = per_concept(
            [[_NEVER if one["cooldown"] is None else one["cooldown"] for one in row] for row in concepts]
        )
        self._present = present
        self._momentum_scale, self._momentum_beta = per_row("momentum_scale"), per_row("momentum_beta")
        self._momentum: Tensor | float = 0.0
        self._passes, self._step = passes, 0

    def combine(self, predicted: Tensor, passes: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """The guided prediction ``(n, c, h, w)`` moved along the concepts."""
        import torch

        towards = self._scale[..., None, None, None] * (passes[self._passes] - passes[0])
        guidance = towards.where(towards.abs() >= _quantile(towards.abs(), self._threshold), 0)
        weight = self._weight * (self._step < self._cooldown)
        begun = (self._step >= self._warmup) & self._present
        together = torch.einsum("kn,kn...->n...", weight, guidance) + self._momentum_scale * self._momentum
        self._momentum = self._momentum_beta * self._momentum + (1 - self._momentum_beta) * together

        # Until all have begun, those that have share the weight, and the momentum only builds up.
        share = weight * begun / (weight * begun).sum(0).clamp(min=torch.finfo(weight.dtype).tiny)
        early = torch.einsum("kn,kn...->n...", share, guidance)
        complete = (begun | ~self._present).all(0) & self._present.any(0)
        self._step += 1
        return predicted + together.where(complete.view(-1, 1, 1, 1), early)


def _quantile(magnitudes: Tensor, shares: Tensor) -> Tensor:
    """The values ``(k, n, c, 1, 1)`` that a share ``(k, n)`` of each channel ``(k, n, c, h, w)`` is below (eq. 5)."""
    ranked = magnitudes.flatten(3).sort(-1).values
    place = (shares * (ranked.shape[-1] - 1))[..., None, None].expand(*ranked.shape[:3], 1)
    below = place.floor().long()
    low, high = ranked.gather(-1, below), ranked.gather(-1, place.ceil().long())
    return low.lerp(high, place - below).unsqueeze(-1)
