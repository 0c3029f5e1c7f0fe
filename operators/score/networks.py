"""The networks that a step measures with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from operators.models.ref import ModelRef
from operators.score import background, pie_bench
from operators.score.aesthetics import Aesthetics
from operators.score.background import Background
from operators.score.metrics import Network
from operators.score.perceptual import ReleasedLpips
from operators.score.presets import Lpips, Preset
from operators.score.vision import Clip, VisionTransformer, load_vision

if TYPE_CHECKING:
    from operators.score.spec import Score

View = Callable[[VisionTransformer, Tensor], Tensor]
"""Pictures ``(n, 3, h, w)`` of bytes as they are shown to a network."""

BACKGROUNDS: dict[Preset | None, Callable[[Tensor, Tensor, Tensor | None], Background]] = {
    None: background.outside,
    Preset.PIE_BENCH: pie_bench.blackened,
}
STRUCTURE_VIEWS: dict[Preset | None, View] = {None: VisionTransformer.viewed, Preset.PIE_BENCH: pie_bench.unscaled}


class Networks:
    """The networks of a step, each loaded once, whichever options name it.

    Args:
        spec: of the step.
        device: where they run.

    Attributes:
        background: what is compared outside of masks.
        structure_view: pictures as they are shown to the network that tells structure.

    Raises:
        ModelError: one can't be had, or is none that a metric can look with.
    """

    def __init__(self, spec: Score, device: torch.device) -> None:
        spec.refuse_missing()
        files, named = spec.files(), spec.networks
        self.device = device
        self.background, self.structure_view = BACKGROUNDS[spec.preset], STRUCTURE_VIEWS[spec.preset]
        self.digests = {str(model): found.digest for model, found in files.items()}
        self._vision: dict[Network, Any] = {
            network: load_vision(files[model], device)
            for network, model in named.items()
            if isinstance(model, ModelRef) and network is not Network.AESTHETICS
        }
        clip = self._vision.get(Network.CLIP)
        if clip is not None and not isinstance(clip, Clip):
            raise clip.files.refuse("is no CLIP: it can't hold texts against pictures")
        head, released = named.get(Network.AESTHETICS), named.get(Network.LPIPS)
        self._released = ReleasedLpips(released, device) if isinstance(released, Lpips) else None
        if self._released is not None:
            self.digests[f"lpips:{released}"] = self._released.digest
        self._head: Any = Aesthetics(files[head], self.clip.width, device) if isinstance(head, ModelRef) else None

    @property
    def clip(self) -> Clip:
        """What holds texts against pictures."""
        found: Clip = self._vision[Network.CLIP]
        return found

    @property
    def dino(self) -> VisionTransformer:
        """What tells structure."""
        found: VisionTransformer = self._vision[Network.DINO]
        return found

    @property
    def lpips(self) -> VisionTransformer | ReleasedLpips:
        """What tells perceptual distances."""
        found: VisionTransformer | ReleasedLpips = self._released or self._vision[Network.LPIPS]
        return found

    def tells_distances(self, network: VisionTransformer) -> bool:
        """Whether it is what tells perceptual distances, by its layers."""
        return network is self._vision.get(Network.LPIPS)

    @property
    def aesthetics(self) -> Aesthetics:
        """What makes one number of an embedding."""
        found: Aesthetics = self._head
        return found
