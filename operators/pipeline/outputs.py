"""From what a pipeline returns to one array for every row, and from arrays to columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image

from operators import columns
from operators.errors import ModelError, NotFiniteError, RowError
from operators.images import Encoding, encode_all
from operators.marks.metadata import Metadata
from operators.pipeline.spec import Pipeline, Product
from operators.tensors import pack

Array = NDArray[np.floating[Any]]

_NAMES = {
    Product.IMAGE: ("images", "image"),
    Product.AUDIO: ("audios", "audio"),
    Product.VIDEO: ("frames", "videos", "video"),
    Product.LATENTS: ("images", "frames", "audios", "latents", "image_embeds"),
}
"""What pipelines call what they return."""


def per_row(result: Mapping[str, Any], product: Product, rows: int) -> list[Array]:
    """One array of floats for every row.

    Pictures are ``(height, width, channels)`` or ``(height, width)`` in 0..1, audio ``(channels, samples)`` or
    ``(samples,)`` in -1..1, videos ``(frames, height, width, channels)`` in 0..1, latents of any shape.

    Raises:
        ModelError: nothing of that kind was returned.
        ValueError: there are more or fewer outputs than rows.
    """
    found = next((result[name] for name in _NAMES[product] if result.get(name) is not None), None)
    if found is None:
        raise ModelError(f"the pipeline gives {' and '.join(result)}, and no {product}; set `produces`")
    if product is Product.LATENTS and not isinstance(found, torch.Tensor):
        raise ModelError("the pipeline gives no latents; set `produces`")
    if len(found) != rows:
        raise ValueError(f"the pipeline gives {len(found)} outputs for {rows} rows")
    return [_array(each) for each in found]


def unsound(arrays: Sequence[Array]) -> dict[int, RowError]:
    """The rows whose output is not finite."""
    return {
        row: NotFiniteError("the output became NaN or infinite")
        for row, array in enumerate(arrays)
        if not np.isfinite(array).all()
    }


def written(arrays: Sequence[Array], spec: Pipeline, sample_rate: int, metadata: Sequence[Metadata]) -> pa.Array:
    """The column of a batch; pictures with their metadata."""
    sound = [np.nan_to_num(array) for array in arrays]
    match spec.produces:
        case Product.LATENTS:
            return pack(sound)
        case Product.IMAGE:
            pictures = [_picture(array, spec.format) for array in sound]
            return encode_all(pictures, spec.format, spec.quality, metadata)
        case Product.AUDIO:
            from operators.pipeline.audio import wave_file

            return _files([wave_file(array, sample_rate) for array in sound])
        case Product.VIDEO:
            from operators.pipeline.video import mp4_file

            return _files([mp4_file(_bytes(array), spec.frame_rate) for array in sound])


def _array(given: Any) -> Array:
    if isinstance(given, torch.Tensor):
        return given.detach().float().cpu().numpy()
    if isinstance(given, Image.Image):
        return np.asarray(given, np.float32) / 255
    if isinstance(given, list):
        return np.stack([_array(each) for each in given])
    return np.asarray(given, np.float32)


def _bytes(array: Array) -> NDArray[np.uint8]:
    return (array.clip(0, 1) * 255).round().astype(np.uint8)


def _picture(array: Array, encoding: Encoding) -> Image.Image:
    levels = _bytes(array)
    image = Image.fromarray(levels[..., 0] if levels.ndim == 3 and levels.shape[-1] == 1 else levels)
    return image.convert("RGB") if encoding is Encoding.JPEG else image


def _files(data: list[bytes]) -> pa.Array:
    return pa.array([{"bytes": each, "path": None} for each in data], columns.IMAGE)
