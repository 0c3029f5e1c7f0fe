"""Self-attention guidance: away from what is left when that which attends to itself is blurred (Hong et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from operators.base import Column, Kind
from operators.controls.base import Control, ControlSpec, Touches
from operators.diffusion.loop import Method
from operators.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from operators.diffusion.attention import AttentionMaps
    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion

_LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.processor"
_KERNEL, _SIGMA = 9, 1.0


class Sag(ControlSpec):
    """Sharpen what the network attends to most: at each step it also sees that part blurred."""

    kind: ClassVar[str] = "sag"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.MAPS})
    per_row: ClassVar[dict[str, Kind]] = {"scale": Kind.NUMBER}

    scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column = Field(
        0.75, description="how strongly; the paper has 0.5 to 1"
    )

    def load(self, family: StableDiffusion, allow_pickle: bool) -> SelfAttentionGuidance:  # noqa: ARG002
        """There is nothing to load.

        Raises:
            ModelError: the model has no self-attention where its map is read.
        """
        if _LAYER not in family.unet.attn_processors:
            raise ModelError("sag reads the self-attention of the middle of the network, and this model has none there")
        return SelfAttentionGuidance(self, family)


class SelfAttentionGuidance(Control[Sag, dict[str, Any]]):
    """Loaded SAG."""

    @contextmanager
    def installed(self, asked: dict[str, Any]) -> Iterator[None]:  # noqa: ARG002
        """The middle of the network tells what it attends to."""
        from operators.diffusion.attention import readable

        with readable(self.family.unet, _LAYER.__eq__) as self._layers:
            yield

    def join(self, denoising: Denoising, asked: list[dict[str, Any]]) -> None:
        """Add the term, which sees what the network attends to in every step."""
        term = SagTerm(denoising, self._layers, [row["scale"] for row in asked])
        denoising.watched.append(term.watching)
        denoising.methods.append(term)


class SagTerm(Method):
    """Guidance away from the noise predicted of latents that are blurred where the network looks (eq. 14 and 15).

    It is made of the unconditional prediction where there is one (eq. 17), and of the conditional one elsewhere.

    Args:
        denoising: the batch.
        layers: one layer of self-attention.
        scales: of every row.
    """

    def __init__(self, denoising: Denoising, layers: AttentionMaps, scales: list[float]) -> None:
        import torch

        self._denoising, self._layers = denoising, layers
        self._scale = torch.tensor(scales, device=denoising.family.device).view(-1, 1, 1, 1)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Read the map of what is predicted inside."""
        with self._layers.maps() as self._maps:
            yield

    def combine(self, predicted: Tensor, passes: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:
        """The guided prediction ``(n, c, h, w)`` moved away from that of the blurred latents."""
        from operators.diffusion.blur import blurred

        (probabilities,) = self._maps.values()
        schedule = self._denoising.schedule
        level, inputs = schedule.level(timestep), schedule.scale(latents, timestep)
        epsilon = level.epsilon(passes[0], inputs)
        clean = level.clean(epsilon, inputs)
        looked_at = _looked_at(probabilities[: len(latents)], *latents.shape[-2:])
        degraded = level.noised(blurred(clean, _KERNEL, _SIGMA).where(looked_at, clean), epsilon)
        (answer,) = self._denoising.predictor([0])(degraded[None], timestep)
        return predicted + level.predicted(self._scale * (epsilon - level.epsilon(answer, degraded)))


def _looked_at(probabilities: Tensor, height: int, width: int) -> Tensor:
    """Where latents get more than their share of attention: ``(n, 1, height, width)`` of ``(n, heads, h*w, h*w)``."""
    from torch.nn import functional

    from operators.diffusion.attention import map_size

    positions, latents = probabilities.shape[-1], 1
    while (size := map_size(height, width, latents))[0] * size[1] > positions:
        latents *= 2
    received = probabilities.mean(1).sum(1).view(-1, 1, *size)
    return functional.interpolate((received > 1).float(), (height, width)) > 0
