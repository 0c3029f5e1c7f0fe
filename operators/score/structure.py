"""How the parts of a picture are alike among each other, as DINO sees it (Tumanyan et al. 2022, section 3)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from operators.score.vision import Features


def self_similarity(features: Features) -> Tensor:
    """Cosines ``(n, t, t)`` between the keys of the last layer's tokens."""
    keys = normalize(features.keys, dim=2)
    return keys @ keys.mT


def distance(before: Features, after: Features) -> Tensor:
    """Mean squared difference ``(n,)`` of self-similarities."""
    return (self_similarity(before) - self_similarity(after)).square().mean((1, 2))
