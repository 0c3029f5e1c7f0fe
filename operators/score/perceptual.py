"""Perceptual distances: LPIPS as it was released, or its like on a vision transformer (Zhang et al. 2018)."""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from operators.errors import ModelError
from operators.score.presets import Lpips

if TYPE_CHECKING:
    from operators.score.vision import Features


class ReleasedLpips:
    """LPIPS version 0.1, calibrated on people's judgements, by the package ``lpips``.

    Args:
        name: its network. Its weights are downloaded by torchvision where they aren't in torch's cache.
        device: where it runs; the CPU unless given.

    Raises:
        ModelError: lpips or torchvision is not installed or doesn't fit torch, or the weights can't be had.
    """

    def __init__(self, name: Lpips, device: torch.device | None = None) -> None:
        released = _released()
        with warnings.catch_warnings():
            # torchvision's, about how lpips calls it.
            warnings.simplefilter("ignore")
            try:
                network = released(net=name.value, verbose=False)
            except OSError as error:
                raise ModelError(f"the weights of LPIPS's {name} can't be had: {error}") from None
        self._network = network.to(device or torch.device("cpu")).eval().requires_grad_(False)

    @property
    def digest(self) -> str:
        """SHA-256 over the weights, in the order of their names, in hexadecimal."""
        digest = hashlib.sha256()
        for _, weights in sorted(self._network.state_dict().items()):
            digest.update(weights.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def __call__(self, before: Tensor, after: Tensor) -> Tensor:
        """Distances ``(n,)`` of pictures ``(n, 3, h, w)`` of bytes."""
        ours, theirs = (pictures.float() / 127.5 - 1 for pictures in (before, after))
        apart: Tensor = self._network(ours, theirs).flatten()
        return apart


def between_layers(before: Features, after: Features) -> Tensor:
    """LPIPS without calibration (eq. 1 with w = 1) ``(n,)``, on the layers of a transformer.

    The tokens of every layer are scaled to length 1; squared differences are summed over channels, averaged over
    patches and summed over layers.
    """
    pairs = zip(before.layers, after.layers, strict=True)
    return torch.stack(
        [(normalize(ours, dim=2) - normalize(theirs, dim=2)).square().sum(2).mean(1) for ours, theirs in pairs]
    ).sum(0)


def _released() -> Any:
    """The class of the package lpips, with what stands in the way told in one line."""
    try:
        from lpips import LPIPS
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ModelError(
            "the released LPIPS needs the packages lpips and a torchvision that fits this torch "
            f"(pip install 'latentmill[lpips]'): {reason}; or name a vision transformer with `lpips`"
        ) from None
    return LPIPS
