"""One batch on its way through the loop: what the network is told, and what plugs in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor

from operators.diffusion.family import StableDiffusion
from operators.diffusion.loop import Method, Predict, Schedule, denoise, guide, unguided
from operators.diffusion.predictor import Conditioning, Predictor
from operators.diffusion.prompts import Prompts


@dataclass
class Denoising:
    """A batch of ``n`` rows that is to be denoised; controls add to it before it is called.

    Attributes:
        family: of the network.
        schedule: timesteps and the sampler, used up by the call.
        prompts: of every pass. Where rows are guided, the first is unconditional and the second conditional, else the
            first is conditional; controls add theirs behind.
        guidance_scale: ``(n,)``.
        generators: one per row.
        guided: whether the first pass is the unconditional one.
        channels: ``(n, k, h, w)``, what the network takes beside the latents; or ``(passes, n, k, h, w)``.
        guidance: makes one prediction of all passes; classifier-free guidance, if rows are guided, unless given.
        conditionings: what else the network is given.
        methods: what changes the way, in this order.
        windowed: makes of a network's answer to all latents one in parts.
        worded: makes of a text of every row what is to be encoded.
        watched: what is entered while a step's passes are predicted, and not while methods predict for themselves.
    """

    family: StableDiffusion
    schedule: Schedule
    prompts: list[Prompts]
    guidance_scale: Tensor
    generators: list[torch.Generator]
    guided: bool
    channels: Tensor | None = None
    guidance: Callable[[Tensor, Tensor], Tensor] | None = None
    conditionings: list[Conditioning] = field(default_factory=list)
    methods: list[Method] = field(default_factory=list)
    windowed: Callable[[Predictor], Predict] | None = None
    worded: Callable[[Sequence[str]], list[str]] = list
    watched: list[Callable[[], AbstractContextManager[None]]] = field(default_factory=list)

    @property
    def conditional(self) -> int:
        """Which pass is told the rows' own prompts."""
        return int(self.guided)

    def encode(self, texts: Sequence[str]) -> Prompts:
        """Embeddings of a text of every row."""
        return self.family.encode_prompts(self.worded(texts))

    def add_pass(self, prompts: Prompts) -> int:
        """Have the network predict under another set of conditions too; the place of that pass."""
        self.prompts.append(prompts)
        return len(self.prompts) - 1

    def predictor(self, passes: Sequence[int] | None = None) -> Predict:
        """The network under some of the passes, or all."""
        chosen = range(len(self.prompts)) if passes is None else passes
        predictor = Predictor(
            self.family,
            [self.prompts[at] for at in chosen],
            self._channels(chosen),
            [conditioning.of_passes(chosen) for conditioning in self.conditionings],
        )
        return predictor if self.windowed is None else self.windowed(predictor)

    def predictor_of(self, rows: Tensor, prompts: Sequence[Prompts]) -> Predictor:
        """The network under other prompts in place of the first passes', and else as for some of the rows."""
        channels = self._channels(range(len(prompts)))
        given = None if channels is None else channels[:, rows]
        return Predictor(self.family, prompts, given, self.conditionings_of(rows))

    def conditionings_of(self, rows: Tensor) -> list[Conditioning]:
        """What the network is given beside the text, of some of the rows."""
        return [conditioning[rows] for conditioning in self.conditionings]

    def __call__(self, latents: Tensor) -> Tensor:
        """Latents ``(n, c, h, w)`` after the last timestep, of those at the first."""
        guidance = self.guidance or (guide if self.guided else unguided)
        predict = Watched(self.predictor(), self.watched)
        return denoise(predict, self.schedule, latents, self.guidance_scale, self.generators, self.methods, guidance)

    def _channels(self, chosen: Sequence[int]) -> Tensor | None:
        if self.channels is None or self.channels.ndim == 4:
            return None if self.channels is None else self.channels.expand(len(chosen), *self.channels.shape)
        return self.channels[list(chosen)]


class Watched:
    """A network that is watched while it predicts.

    Args:
        predict: the network under its conditions.
        watches: what is entered meanwhile.
    """

    def __init__(self, predict: Predict, watches: Sequence[Callable[[], AbstractContextManager[None]]]) -> None:
        self.passes = predict.passes
        self._predict, self._watches = predict, watches

    def __call__(self, inputs: Tensor, timestep: Tensor) -> Tensor:
        """The network's answer."""
        with ExitStack() as stack:
            for watch in self._watches:
                stack.enter_context(watch())
            return self._predict(inputs, timestep)
