"""What metrics see of a batch; whatever a network makes of it is made once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from operators.score.background import Background
from operators.score.metrics import Reads
from operators.score.networks import Networks, View
from operators.score.operator import Scored
from operators.score.vision import Features, VisionTransformer


class Batch:
    """Rows of one size, on the device.

    Args:
        rows: that have the same pictures and texts to read.
        networks: what to look with.
        is_masked: whether they have masks.
    """

    def __init__(self, rows: Sequence[Scored], networks: Networks, is_masked: bool) -> None:
        self.networks = networks
        self._rows, self._is_masked = rows, is_masked
        self._seen: dict[tuple[VisionTransformer, Tensor, View], Features] = {}

    @cached_property
    def before(self) -> Tensor:
        """The pictures before the edit: ``(n, 3, h, w)`` bytes."""
        return self._stacked(Reads.SOURCE)

    @cached_property
    def after(self) -> Tensor:
        """The pictures to measure, likewise."""
        return self._stacked(Reads.IMAGE)

    @cached_property
    def inside(self) -> Tensor | None:
        """Masks ``(n, 1, h, w)``: 1 inside and 0 outside, NaN all over where a row has none; None if no row has."""
        if not self._is_masked:
            return None
        width, height = self._rows[0].size
        none = np.full((height, width), np.nan, np.float32)
        masks = [none if row.mask is None else row.mask.astype(np.float32) for row in self._rows]
        return torch.from_numpy(np.stack(masks)[:, None]).to(self.networks.device)

    @property
    def covered(self) -> Tensor:
        """Where the masks are: ``(n, 1, h, w)``, nowhere in a row that has none."""
        return torch.zeros_like(self.after[:, :1], dtype=torch.bool) if self.inside is None else self.inside == 1

    @cached_property
    def background(self) -> Background:
        """What is outside of the masks."""
        return self.networks.background(self.before, self.after, self.inside)

    @cached_property
    def clip_before(self) -> Tensor:
        """CLIP's embeddings ``(n, k)`` of the pictures before the edit, of length 1."""
        return self.embedded(self.before)

    @cached_property
    def clip_after(self) -> Tensor:
        """Those of the pictures to measure."""
        return self.embedded(self.after)

    @cached_property
    def clip_source(self) -> Tensor:
        """Those of the texts about the pictures before the edit; NaN where there is none."""
        return self._read(Reads.SOURCE_PROMPT)

    @cached_property
    def clip_target(self) -> Tensor:
        """Those of the texts about what the pictures shall show."""
        return self._read(Reads.TARGET_PROMPT)

    def embedded(self, pictures: Tensor) -> Tensor:
        """CLIP's embeddings ``(n, k)``, of length 1, of pictures ``(n, 3, h, w)`` of bytes."""
        return self.networks.clip.embedded(self.features(self.networks.clip, pictures))

    def features(self, network: VisionTransformer, pictures: Tensor, view: View = VisionTransformer.viewed) -> Features:
        """What a network makes of pictures ``(n, 3, h, w)`` of bytes."""
        # A tensor's hash is its identity: metrics that look at the same one share what is seen of it.
        key = (network, pictures, view)
        if key not in self._seen:
            deep = self.networks.tells_distances(network)
            self._seen[key] = network(view(network, pictures), with_layers=deep)
        return self._seen[key]

    def _stacked(self, which: Reads) -> Tensor:
        stacked = torch.from_numpy(np.stack([row.pictures[which] for row in self._rows]))
        return stacked.to(self.networks.device).permute(0, 3, 1, 2).contiguous()

    def _read(self, which: Reads) -> Tensor:
        told = [row.texts[which] for row in self._rows]
        texts = list(dict.fromkeys(text for text in told if text is not None))
        if not texts:
            return torch.full((len(told), self.networks.clip.width), torch.nan, device=self.networks.device)
        unknown = torch.full((1, self.networks.clip.width), torch.nan, device=self.networks.device)
        known = torch.cat([self.networks.clip.read(texts), unknown])
        return known[[len(texts) if text is None else texts.index(text) for text in told]]
