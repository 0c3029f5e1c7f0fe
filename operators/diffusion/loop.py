"""The denoising loop: one function, batch first, every knob a tensor with a value per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from operators.diffusion.schedulers import Schedule

Predict = Callable[[Tensor, Tensor], Tensor]
"""From latents ``(n, c, h, w)`` as the network takes them and a timestep to ``(passes, n, c, h, w)``: one prediction
under each set of conditions. With guidance the first is unconditional and the second conditional."""


class Method:
    """What plugs into the loop; each hook leaves things as they are unless overridden."""

    def before(self, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """Move the latents ahead of the prediction, as by a gradient."""
        return latents

    def combine(self, predicted: Tensor, passes: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """Change the guided prediction ``(n, c, h, w)``, given the passes that it was made of."""
        return predicted

    def after(self, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """Change the latents that the step led to, as by a blend."""
        return latents


def guide(passes: Tensor, guidance_scale: Tensor) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, eq. 6 in the form ``u + s (c - u)``).

    Args:
        passes: ``(2, n, c, h, w)``, unconditional and conditional predictions; or ``(1, n, c, h, w)``, which stands
            for itself.
        guidance_scale: ``(n,)``, in single precision.
    """
    if len(passes) == 1:
        return passes[0]
    scale = guidance_scale.view(-1, 1, 1, 1)
    return (passes[0] + scale * (passes[1] - passes[0])).to(passes.dtype)


def denoise(
    predict: Predict,
    schedule: Schedule,
    latents: Tensor,
    guidance_scale: Tensor,
    generators: list[torch.Generator],
    methods: Sequence[Method] = (),
) -> Tensor:
    """Take latents along a schedule.

    Args:
        predict: the network under its conditions.
        schedule: timesteps and the sampler; used up by this call.
        latents: ``(n, c, h, w)`` at the noise level of the first timestep.
        guidance_scale: ``(n,)``; read only where ``predict`` makes two passes.
        generators: one per row, for samplers that add noise.
        methods: what changes the way, in this order.

    Returns:
        Latents ``(n, c, h, w)`` after the last timestep.
    """
    for timestep in schedule.timesteps:
        for method in methods:
            latents = method.before(latents, timestep)
        passes = predict(schedule.scale(latents, timestep), timestep)
        predicted = guide(passes[:2], guidance_scale)
        for method in methods:
            predicted = method.combine(predicted, passes, latents, timestep)
        latents = schedule.step(predicted, timestep, latents, generators)
        for method in methods:
            latents = method.after(latents, timestep)
    return latents
