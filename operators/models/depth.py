"""How near what a picture shows is, by a depth model of transformers (MiDaS, Ranftl et al. 2020)."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForDepthEstimation

from operators.models.loading import ModelFiles, check_architecture, load_network, load_processor


class DepthModel:
    """A loaded depth model.

    Args:
        files: of the model.
        device: where it runs. It computes in single precision there: batch norms of some don't bear half.
        part: subfolder that its weights are in.
        processor: subfolder that its picture processor is in.

    Raises:
        ModelError: it is no depth model.
    """

    def __init__(self, files: ModelFiles, device: torch.device, part: str = ".", processor: str = ".") -> None:
        check_architecture(files, "ForDepthEstimation", "does not estimate depth", part)
        self._processor = load_processor(files, processor)
        self._network = load_network(AutoModelForDepthEstimation, files, device, part, dtype=torch.float32)
        self._device = device

    def viewed(self, picture: Image.Image) -> Tensor:
        """A picture as the network takes it: ``(3, h, w)``, of a size that only depends on the picture's."""
        pixels: Tensor = self._processor(images=picture, return_tensors="pt").pixel_values[0]
        return pixels

    def __call__(self, viewed: Tensor) -> Tensor:
        """Nearness ``(n, h, w)``, in no unit, of pictures ``(n, 3, h, w)``, on the network's device."""
        nearness: Tensor = self._network(viewed.to(self._device)).predicted_depth
        return nearness


def between(nearness: Tensor, low: float, high: float) -> Tensor:
    """Maps ``(n, ...)`` each scaled to go from ``low`` to ``high``; ``low`` where all of one is the same."""
    flat = nearness.flatten(1)
    least, most = (bound.view(-1, *[1] * (nearness.ndim - 1)) for bound in (flat.amin(1), flat.amax(1)))
    spread = (most - least).clamp(min=torch.finfo(nearness.dtype).tiny)
    return low + (high - low) * (nearness - least) / spread
