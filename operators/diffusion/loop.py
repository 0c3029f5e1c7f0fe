"""The denoising loop: one function, batch first, every knob a tensor with a value per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from operators.diffusion.noise_level import NoiseLevel


class Predict(Protocol):
    """The network under one or more sets of conditions."""

    passes: int
    """Sets of conditions. With guidance there are two: the first is unconditional, the second conditional."""

    def __call__(self, inputs: Tensor, timestep: Tensor) -> Tensor:
        """From latents ``(passes, n, c, h, w)``, as the network takes them, to as many predictions."""


class Schedule(Protocol):
    """Timesteps, and how latents move from one to the next."""

    timesteps: Tensor

    def scale(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """What the network is given of the latents at a timestep."""

    def level(self, timestep: Tensor) -> NoiseLevel:
        """What of picture and noise the network is given at a timestep."""

    def prediction(self, predicted: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:
        """What :meth:`step` takes, of what the network predicted."""

    def step(self, predicted: Tensor, timestep: Tensor, latents: Tensor, generators: list[torch.Generator]) -> Tensor:
        """The latents one timestep on; noise that the sampler adds is drawn from each row's own generator."""


class Method:
    """What plugs into the loop; each hook leaves things as they are unless overridden."""

    def before(self, inputs: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """Move latents ahead of the prediction, as by a gradient.

        Args:
            inputs: ``(passes, n, c, h, w)``, a copy of the latents for every set of conditions. The first is the one
                that the step goes on from; the others only change what is predicted.
            timestep: of the step.
        """
        return inputs

    def combine(self, predicted: Tensor, passes: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """Change the guided answer of the network ``(n, c, h, w)``, given the passes that it was made of."""
        return predicted

    def correct(self, predicted: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """Change what the step takes, ``(n, c, h, w)``: with DDIM in closed form the noise, whatever was predicted."""
        return predicted

    def after(self, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """Change the latents that the step led to, as by a blend."""
        return latents


def guide(passes: Tensor, guidance_scale: Tensor) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, eq. 6 in the form ``u + s (c - u)``).

    Args:
        passes: ``(2 or more, n, c, h, w)``, of which the first is unconditional and the second conditional; or
            ``(1, n, c, h, w)``, which stands for itself.
        guidance_scale: ``(n,)``.
    """
    if len(passes) == 1:
        return unguided(passes, guidance_scale)
    return passes[0] + guidance_scale.view(-1, 1, 1, 1) * (passes[1] - passes[0])


def unguided(passes: Tensor, guidance_scale: Tensor) -> Tensor:  # noqa: ARG001
    """The first of the passes ``(1 or more, n, c, h, w)``: no guidance."""
    return passes[0]


def guide_by_picture(passes: Tensor, guidance_scale: Tensor, image_guidance_scale: Tensor) -> Tensor:
    """Guidance by a picture and a text (InstructPix2Pix, Brooks et al. 2023, eq. 3).

    Args:
        passes: ``(3, n, c, h, w)``, predictions under nothing, the picture, and the picture and the text.
        guidance_scale: ``(n,)``, of the text.
        image_guidance_scale: ``(n,)``, of the picture.
    """
    nothing, picture, both = passes.unbind()
    by_picture = image_guidance_scale.view(-1, 1, 1, 1) * (picture - nothing)
    return nothing + by_picture + guidance_scale.view(-1, 1, 1, 1) * (both - picture)


def denoise(
    predict: Predict,
    schedule: Schedule,
    latents: Tensor,
    guidance_scale: Tensor,
    generators: list[torch.Generator],
    methods: Sequence[Method] = (),
    guidance: Callable[[Tensor, Tensor], Tensor] = guide,
) -> Tensor:
    """Take latents along a schedule: towards pictures, or back towards noise where the schedule leads there.

    Args:
        predict: the network under its conditions.
        schedule: timesteps and the sampler; used up by this call.
        latents: ``(n, c, h, w)``, in single precision, at the noise level that the schedule begins at.
        guidance_scale: ``(n,)``; read only where ``predict`` makes more passes than one.
        generators: one per row, for samplers that add noise.
        methods: what changes the way, in this order.
        guidance: makes one prediction ``(n, c, h, w)`` of all passes and ``guidance_scale``.

    Returns:
        Latents ``(n, c, h, w)`` after the last timestep.
    """
    for timestep in schedule.timesteps:
        inputs = latents.expand(predict.passes, *latents.shape)
        for method in methods:
            inputs = method.before(inputs, timestep)
        latents = inputs[0]
        passes = predict(schedule.scale(inputs, timestep), timestep)
        guided = guidance(passes, guidance_scale)
        for method in methods:
            guided = method.combine(guided, passes, latents, timestep)
        predicted = schedule.prediction(guided, latents, timestep)
        for method in methods:
            predicted = method.correct(predicted, latents, timestep)
        latents = schedule.step(predicted, timestep, latents, generators)
        for method in methods:
            latents = method.after(latents, timestep)
    return latents
