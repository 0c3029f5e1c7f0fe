"""What networks beside the denoiser add inside of it: ControlNet and T2I-Adapter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from operators.diffusion.predictor import Conditioning, Window
from operators.diffusion.strengths import Strengths


@dataclass(frozen=True)
class ControlNetResiduals(Conditioning):
    """What a ControlNet adds to the skip connections and the middle (Zhang et al. 2023, eq. 4).

    Attributes:
        network: takes encoded pictures in place of pictures.
        encoded: ``(n, k, h, w)``, the condition pictures at the size of latents.
        strengths: of every row.
        guess: weaken what is added, the more so the shallower.
        without: passes that nothing is added to.
    """

    network: Any
    encoded: Tensor
    strengths: Strengths
    guess: bool
    without: tuple[int, ...] = ()

    def __call__(self, inputs: Tensor, timestep: Tensor, told: dict[str, Any], window: Window | None) -> dict[str, Any]:
        """Residuals for ``passes * n`` rows; none in a step that no row has them in."""
        strengths = self.strengths.now
        if strengths is None:
            return {}
        encoded = self.encoded if window is None else window.of(self.encoded)
        down, middle = self.network(
            inputs.flatten(0, 1).contiguous(memory_format=torch.channels_last),
            timestep,
            **told,
            controlnet_cond=encoded.expand(len(inputs), *encoded.shape).flatten(0, 1),
            guess_mode=self.guess,
            return_dict=False,
        )
        shares = strengths.repeat(len(inputs), 1)
        for place in self.without:
            shares[place] = 0
        shares = shares.view(-1, 1, 1, 1)
        return {
            "down_block_additional_residuals": [one * shares for one in down],
            "mid_block_additional_residual": middle * shares,
        }

    def __getitem__(self, rows: Tensor) -> ControlNetResiduals:
        return replace(self, encoded=self.encoded[rows], strengths=self.strengths[rows])

    def of_passes(self, passes: Sequence[int]) -> ControlNetResiduals:
        """The same where only these of all passes are predicted."""
        return replace(self, without=tuple(at for at, number in enumerate(passes) if number in self.without))


@dataclass(frozen=True)
class AdapterFeatures(Conditioning):
    """What a T2I-Adapter adds at each depth of the way down (Mou et al. 2023, eq. 4).

    Attributes:
        features: ``(n, k, h, w)`` at each depth.
        size: height and width of the latents.
        strengths: of every row.
    """

    features: tuple[Tensor, ...]
    size: tuple[int, int]
    strengths: Strengths

    def __call__(self, inputs: Tensor, timestep: Tensor, told: dict[str, Any], window: Window | None) -> dict[str, Any]:  # noqa: ARG002
        """Features for ``passes * n`` rows, in a list of their own, which the network empties."""
        strengths = self.strengths.now
        if strengths is None:
            return {}
        shares = strengths.view(-1, 1, 1, 1)
        weighed = [self._inside(one, window) * shares for one in self.features]
        added = [one.expand(len(inputs), *one.shape).flatten(0, 1) for one in weighed]
        return {"down_intrablock_additional_residuals": added}

    def __getitem__(self, rows: Tensor) -> AdapterFeatures:
        return replace(self, features=tuple(one[rows] for one in self.features), strengths=self.strengths[rows])

    def _inside(self, features: Tensor, window: Window | None) -> Tensor:
        if window is None:
            return features
        # Each level down halves a side, rounded up.
        return window.reduced(2 ** round(math.log2(self.size[0] / features.shape[-2]))).of(features)
