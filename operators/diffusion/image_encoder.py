"""What CLIP makes of pictures (Radford et al. 2021), for models that are told by pictures."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from operators.models.loading import ModelFiles, load_network, load_processor


class ImageEncoder:
    """The image encoder of a diffusion model, in its folder ``image_encoder``, with ``feature_extractor``.

    Args:
        files: of the diffusion model.
        device: where it runs.
        dtype: that it computes in.

    Raises:
        ModelError: the model has none.
    """

    def __init__(self, files: ModelFiles, device: torch.device, dtype: torch.dtype) -> None:
        self._processor = load_processor(files, "feature_extractor")
        self._network = load_network(CLIPVisionModelWithProjection, files, device, "image_encoder", dtype=dtype)

    def viewed(self, picture: Image.Image) -> Tensor:
        """The middle of a picture as the network takes it: ``(3, h, w)``, of one size for all."""
        pixels: Tensor = self._processor(images=picture, return_tensors="pt").pixel_values[0]
        return pixels

    def __call__(self, viewed: Tensor) -> Tensor:
        """Embeddings ``(n, k)`` of pictures ``(n, 3, h, w)``, on the network's device."""
        embeddings: Tensor = self._network(viewed.to(self._network.device, self._network.dtype)).image_embeds
        return embeddings
