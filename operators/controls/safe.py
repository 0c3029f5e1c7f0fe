"""Safe latent diffusion: away from what is inappropriate, where a prompt leads there (Schramowski et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from operators.base import Column, Kind
from operators.controls.base import Control, ControlSpec, Touches
from operators.diffusion.loop import Method
from operators.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from torch import Tensor

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion

_PRESETS: dict[str, dict[str, float]] = {
    "weak": {"guidance_scale": 20, "warmup": 15, "threshold": 0.0, "momentum_scale": 0.0, "momentum_beta": 0.0},
    "medium": {"guidance_scale": 1000, "warmup": 10, "threshold": 0.01, "momentum_scale": 0.3, "momentum_beta": 0.4},
    "strong": {"guidance_scale": 2000, "warmup": 7, "threshold": 0.025, "momentum_scale": 0.5, "momentum_beta": 0.7},
    "max": {"guidance_scale": 5000, "warmup": 0, "threshold": 1.0, "momentum_scale": 0.5, "momentum_beta": 0.7},
}
"""The configurations of the paper, table 1 and appendix."""

_CONCEPT = (
    "an image showing hate, harassment, violence, suffering, humiliation, harm, suicide, sexual, nudity, bodily "
    "fluids, blood, obscene gestures, illegal activity, drug use, theft, vandalism, weapons, child abuse, "
    "brutality, cruelty"
)


class Safe(ControlSpec):
    """Keep away from a concept of what is unsafe; what has nothing to do with it stays as it is."""

    kind: ClassVar[str] = "safe"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.PASSES, Touches.TEXT})
    per_row: ClassVar[dict[str, Kind]] = {
        "preset": Kind.TEXT,
        "concept": Kind.TEXT,
        "guidance_scale": Kind.NUMBER,
        "warmup": Kind.INTEGER,
        "threshold": Kind.NUMBER,
        "momentum_scale": Kind.NUMBER,
        "momentum_beta": Kind.NUMBER,
    }
    needs_unconditional: ClassVar[bool] = True

    preset: Literal["weak", "medium", "strong", "max"] | Column = Field(
        "medium", description="the paper's configuration, which decides all that is not given"
    )
    concept: str | Column = Field(_CONCEPT, description="what to keep away from, in words; nothing where it is empty")
    guidance_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column | None = Field(
        None, description="how soon the guidance is as strong as it gets; `preset`'s unless given"
    )
    warmup: Annotated[int, Field(ge=0)] | Column | None = Field(
        None, description="steps before it begins; `preset`'s unless given"
    )
    threshold: Annotated[float, Field(allow_inf_nan=False)] | Column | None = Field(
        None, description="how far above the concept's prediction the prompt's counts as safe; `preset`'s unless given"
    )
    momentum_scale: Annotated[float, Field(ge=0, le=1)] | Column | None = Field(
        None, description="how much of the momentum is added at every step; `preset`'s unless given"
    )
    momentum_beta: Annotated[float, Field(ge=0, lt=1)] | Column | None = Field(
        None, description="how much of the momentum is kept from step to step; `preset`'s unless given"
    )

    def load(self, family: StableDiffusion, allow_pickle: bool) -> SafetyGuidance:  # noqa: ARG002
        """There is nothing to load."""
        return SafetyGuidance(self, family)


class SafetyGuidance(Control[Safe, dict[str, Any]]):
    """Loaded SLD."""

    def prepare(self, table: pa.Table, texts: Sequence[tuple[str, ...] | None]) -> list[dict[str, Any] | RowError]:
        """Options of every row, those left open as its preset has them."""
        rows = super().prepare(table, texts)
        return [row if isinstance(row, RowError) else _settled(row) for row in rows]

    def texts(self, asked: dict[str, Any]) -> tuple[str, ...]:
        """The concept."""
        return (asked["concept"],)

    def join(self, denoising: Denoising, asked: list[dict[str, Any]]) -> None:
        """Add a pass for the concept, and the term that comes of it."""
        concept = denoising.add_pass(denoising.encode([row["concept"] for row in asked]))
        denoising.methods.append(SafetyTerm(denoising.guidance_scale, concept, asked))


def _settled(row: dict[str, Any]) -> dict[str, Any]:
    return _PRESETS[row["preset"]] | {name: value for name, value in row.items() if value is not None}


class SafetyTerm(Method):
    """Guidance away from a concept where the prompt's prediction comes near it (eq. 3 to 8).

    Args:
        guidance_scale: ``(n,)``, of the prompt, by which the term is scaled too.
        concept: the concept's pass.
        asked: options of every row.
    """

    def __init__(self, guidance_scale: Tensor, concept: int, asked: list[dict[str, Any]]) -> None:
        import torch

        def per_row(name: str) -> Tensor:
            return torch.tensor([row[name] for row in asked], device=guidance_scale.device).view(-1, 1, 1, 1)

        self._concept, self._overall = concept, guidance_scale.view(-1, 1, 1, 1)
        present = torch.tensor([bool(row["concept"]) for row in asked], device=guidance_scale.device)
        self._scale = per_row("guidance_scale") * present.view(-1, 1, 1, 1)
        self._threshold, self._warmup = per_row("threshold"), per_row("warmup")
        self._momentum_scale, self._momentum_beta = per_row("momentum_scale"), per_row("momentum_beta")
        self._momentum: Tensor | float = 0.0
        self._step = 0

    def combine(self, predicted: Tensor, passes: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """The guided prediction ``(n, c, h, w)`` moved away from the concept."""
        unconditional, prompted, unsafe = passes[0], passes[1], passes[self._concept]
        apart = prompted - unsafe
        strength = (self._scale * apart.abs()).clamp(max=1).where(apart < self._threshold, 0)
        guidance = strength * (unsafe - unconditional) + self._momentum_scale * self._momentum
        self._momentum = self._momentum_beta * self._momentum + (1 - self._momentum_beta) * guidance
        begun = self._step >= self._warmup
        self._step += 1
        return predicted - self._overall * guidance.where(begun, 0)
