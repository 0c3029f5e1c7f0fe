"""The network under its conditions, as the denoising loop asks it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from operators.diffusion.prompts import Prompts

if TYPE_CHECKING:
    from operators.diffusion.family import StableDiffusion


@dataclass(frozen=True)
class Window:
    """A part of the latents; one that runs over an edge goes on at the other side.

    Attributes:
        rows: ``(h,)``, indices.
        columns: ``(w,)``, indices.
    """

    rows: Tensor
    columns: Tensor

    def of(self, values: Tensor) -> Tensor:
        """The window ``(..., h, w)`` of values for all latents ``(..., H, W)``."""
        return values[..., self.rows[:, None], self.columns]

    def scaled(self, factor: int) -> Window:
        """The same window of something with ``factor`` values for a latent in each direction."""
        inside = torch.arange(factor, device=self.rows.device)
        rows, columns = ((places[:, None] * factor + inside).flatten() for places in (self.rows, self.columns))
        return Window(rows, columns)

    def reduced(self, factor: int) -> Window:
        """The same window of something with one value for ``factor`` latents in each direction."""
        return Window(self.rows[::factor] // factor, self.columns[::factor] // factor)


class Conditioning(ABC):
    """What the network is given beside latents, timestep and text: by another network, or of a picture."""

    @abstractmethod
    def __call__(self, inputs: Tensor, timestep: Tensor, told: dict[str, Any], window: Window | None) -> dict[str, Any]:
        """Further arguments of the network.

        Args:
            inputs: ``(passes, n, c, h, w)``, the latents as the network takes them, in its precision.
            timestep: of the step.
            told: what the network takes of the text, for ``passes * n`` rows.
            window: the part of all latents that ``inputs`` are; None for all.

        Returns:
            Arguments by name, for ``passes * n`` rows. Tensors and lists of tensors are added to those of others.
        """

    @abstractmethod
    def __getitem__(self, rows: Tensor) -> Conditioning:
        """The same for some of the rows."""

    def of_passes(self, passes: Sequence[int]) -> Conditioning:  # noqa: ARG002
        """The same where only these of all passes are predicted; nothing changes unless overridden."""
        return self


class Predictor:
    """A network under its conditions.

    Args:
        family: of the network.
        prompts: of ``n`` rows, for every pass.
        channels: ``(passes, n, k, h, w)``, what the network takes beside the latents.
        conditionings: what else it is given.

    Attributes:
        passes: sets of conditions.
    """

    def __init__(
        self,
        family: StableDiffusion,
        prompts: Sequence[Prompts],
        channels: Tensor | None = None,
        conditionings: Sequence[Conditioning] = (),
    ) -> None:
        self.passes = len(prompts)
        self._family = family
        self._prompts = Prompts.joined(prompts)
        self._channels = channels
        self._conditionings = conditionings

    def __call__(self, inputs: Tensor, timestep: Tensor, window: Window | None = None) -> Tensor:
        """Predictions ``(passes, n, c, h, w)`` in single precision, of latents of that shape at a timestep.

        The latents may be those of a window alone.
        """
        family = self._family
        told = family.conditions(self._prompts, *inputs.shape[-2:])
        latents = inputs.to(family.dtype)
        given = [condition(latents, timestep, told, window) for condition in self._conditionings]
        if self._channels is not None:
            channels = self._channels if window is None else window.of(self._channels)
            latents = torch.cat([latents, channels.to(family.dtype)], 2)
        predicted: Tensor = family.unet(
            latents.flatten(0, 1).contiguous(memory_format=torch.channels_last),
            timestep,
            **told,
            **_together(given),
            return_dict=False,
        )[0]
        return predicted.float().contiguous().view(inputs.shape)


def _together(given: Sequence[dict[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for arguments in given:
        for name, value in arguments.items():
            joined[name] = _sum(joined[name], value) if name in joined else value
    return joined


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, Tensor):
        return one + other
    return [first + second for first, second in zip(one, other, strict=True)]
