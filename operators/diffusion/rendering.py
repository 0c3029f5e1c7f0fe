"""From pictures to what the autoencoder takes, and from latents to pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import torch
from PIL import Image, ImageOps
from torch import Tensor

from operators.diffusion.family import StableDiffusion
from operators.errors import NotFiniteError, RowError
from operators.images import Encoding, encode_all
from operators.marks.metadata import Metadata


def fitted(picture: Image.Image, width: int, height: int) -> Tensor:
    """The middle of a picture, scaled to fill ``width`` x ``height``: ``(3, height, width)`` in -1..1."""
    scaled = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(scaled)).permute(2, 0, 1).float() / 255 * 2 - 1


def fitted_mask(mask: Image.Image, width: int, height: int) -> Tensor:
    """The same of a mask, 1 where it is brighter than half and 0 elsewhere: ``(1, height, width)``."""
    scaled = ImageOps.fit(mask.convert("L"), (width, height), Image.Resampling.BOX)
    return (torch.from_numpy(np.array(scaled)) > 127).float()[None]


def render(
    family: StableDiffusion,
    latents: Tensor,
    encoding: Encoding,
    quality: int,
    metadata: Sequence[Metadata],
    finished: Callable[[Tensor], Tensor] | None = None,
) -> tuple[pa.StructArray, dict[int, RowError]]:
    """Pictures of latents ``(n, c, h, w)``, encoded with their metadata; and the rows that are not finite.

    ``finished`` changes the pictures ``(n, 3, H, W)`` in 0..1 before they are encoded.
    """
    finite = latents.isfinite().flatten(1).all(1)
    pixels = family.decode(latents.nan_to_num())
    finite &= pixels.isfinite().flatten(1).all(1)
    pixels = pixels if finished is None else finished(pixels)
    pictures = (pixels.nan_to_num() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    errors: dict[int, RowError] = {
        row: NotFiniteError("the latents became NaN or infinite")
        for row, good in enumerate(finite.tolist())
        if not good
    }
    return encode_all(pictures, encoding, quality, metadata), errors
