"""Cross-attention guidance of Pix2Pix Zero: two trajectories in lockstep (Parmar et al. 2023, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from operators.diffusion.attention import AttentionMaps
from operators.diffusion.ddim import Way
from operators.diffusion.loop import Method, Predict, guide


class Reference:
    """The trajectory that an edit is held to: a plain reconstruction, one step at a time.

    Args:
        layers: of the network.
        predict: the network under the rows' own prompts.
        way: DDIM from the noisiest level to the picture.
        latents: ``(n, c, h, w)`` to begin with.
        guidance_scale: ``(n,)``.

    Attributes:
        latents: ``(n, c, h, w)`` after the steps taken so far.
    """

    def __init__(
        self, layers: AttentionMaps, predict: Predict, way: Way, latents: Tensor, guidance_scale: Tensor
    ) -> None:
        self.latents = latents
        self._layers, self._predict, self._way, self._guidance_scale = layers, predict, way, guidance_scale

    def step(self, timestep: Tensor) -> list[Tensor]:
        """Take one step; the cross-attention maps of it, ``(passes * n, heads, positions, tokens)`` for each layer."""
        with self._layers.maps() as maps:
            passes = self._predict(self.latents.expand(self._predict.passes, *self.latents.shape), timestep)
        guided = guide(passes, self._guidance_scale)
        noise = self._way.prediction(guided, self.latents, timestep)
        self.latents = self._way.step(noise, timestep, self.latents, [])
        return list(maps.values())


class CrossAttentionGuidance(Method):
    """Moves an edit's latents so that its cross-attention maps stay near those of the reference.

    One gradient step on the squared difference of the maps (eq. 6), summed over layers, positions and tokens, averaged
    over heads and passes, and summed over rows, so that no row has a say in another's. Maps of one step at a time are
    held, on the device.

    Args:
        layers: of the network.
        predict: the network under the edited conditions.
        reference: that is stepped along.
        places: ``(n,)``, the reference's row for each edited row.
        amount: ``(n,)``, length of the gradient step.
    """

    def __init__(
        self, layers: AttentionMaps, predict: Predict, reference: Reference, places: Tensor, amount: Tensor
    ) -> None:
        self._layers, self._predict, self._reference = layers, predict, reference
        self._places, self._amount = places, amount.view(1, -1, 1, 1, 1)

    def before(self, inputs: Tensor, timestep: Tensor) -> Tensor:
        """The latents of every pass after the gradient step; in the first they go on, in the second they predict.

        Passes beyond those of ``predict`` are moved as what goes on is.
        """
        passes = self._predict.passes
        held = self._reference.step(timestep)
        with torch.enable_grad():
            moved = inputs[:passes].detach().clone().requires_grad_()
            with self._layers.maps() as maps:
                self._predict(moved, timestep)
            apart = [
                (now - self._of_rows(then, passes)).square().sum((2, 3)).mean(1).sum()
                for now, then in zip(maps.values(), held, strict=True)
            ]
            loss = torch.stack(apart).sum()
            (gradient,) = torch.autograd.grad(loss / passes, moved)
        moved = inputs[:passes] - self._amount * gradient
        return torch.cat([moved, inputs[passes:] + (moved[0] - inputs[0])])

    def _of_rows(self, maps: Tensor, passes: int) -> Tensor:
        per_pass = maps.view(passes, -1, *maps.shape[1:])
        return per_pass[:, self._places].flatten(0, 1)
