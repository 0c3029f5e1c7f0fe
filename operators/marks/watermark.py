"""A watermark that can't be seen: bits in the brightness, by quantization index modulation (Chen and Wornell 2001).

Of every 8 x 8 pixels, the cosine transform of the luma (ITU-R BT.601, as in JPEG) has two coefficients, (1, 2) and
(2, 1), that hold a bit each: 0 at the multiples of 20, 1 halfway between them. Blocks, row by row, take the 80 bits in
turn: eight bytes of ASCII, filled up with zeros, and the lower 16 bits of their CRC-32. A reader sums up what all
blocks say of a bit. The mark survives JPEG and WebP, but no scaling, turning, or cropping by other than the period.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from operators.errors import ImageTooSmallError

LONGEST = 8
"""Letters of a text."""

_SIDE = 8
_STEP = 20.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_LEAST_VOTES = 8
_BITS = LONGEST * 8 + 16


def with_watermark(picture: Image.Image, text: str) -> Image.Image:
    """An RGB picture with up to eight letters of ASCII hidden in it.

    Raises:
        ImageTooSmallError: it has too few blocks for every bit to be there several times.
    """
    pixels = np.array(picture, np.float32)
    blocks = _blocks(pixels @ _LUMA)
    if 2 * len(blocks) < _LEAST_VOTES * _BITS:
        raise ImageTooSmallError(
            f"{picture.width} x {picture.height} pixels are too few for a watermark, which takes 144 x 144"
        )
    given = (blocks @ _BASIS).ravel()
    offset = np.resize(_bits(text.encode().ljust(LONGEST, b"\0")), len(given)) / 2
    wanted = ((given / _STEP - offset).round() + offset) * _STEP
    change = (wanted - given).reshape(-1, 2) @ _BASIS.T
    rows, across = picture.height // _SIDE, picture.width // _SIDE
    spread = change.reshape(rows, across, _SIDE, _SIDE).transpose(0, 2, 1, 3).reshape(rows * _SIDE, across * _SIDE)
    pixels[: rows * _SIDE, : across * _SIDE] += spread[..., None]
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def read_watermark(picture: Image.Image) -> str | None:
    """What is hidden in an RGB picture; None where nothing is, or nothing that can still be read."""
    given = (_blocks(np.asarray(picture, np.float32) @ _LUMA) @ _BASIS).ravel()
    # 1 where a coefficient is at a 0, -1 at a 1, and 0 where it could be either.
    votes = np.resize(np.cos(2 * np.pi * given / _STEP), -(-len(given) // _BITS) * _BITS)
    votes[len(given) :] = 0
    said = np.packbits(votes.reshape(-1, _BITS).sum(0) < 0)
    text = said[:LONGEST].tobytes()
    if not any(text) or not np.array_equal(np.unpackbits(said), _bits(text)):
        return None
    return text.rstrip(b"\0").decode("ascii", "replace")


def _bits(text: bytes) -> NDArray[np.uint8]:
    checked = text + (zlib.crc32(text) & 0xFFFF).to_bytes(2)
    return np.unpackbits(np.frombuffer(checked, np.uint8))


def _blocks(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blocks ``(n, 64)`` of pixels ``(height, width)``; what is left at the edges is none."""
    rows, across = luma.shape[0] // _SIDE, luma.shape[1] // _SIDE
    whole = luma[: rows * _SIDE, : across * _SIDE].reshape(rows, _SIDE, across, _SIDE)
    return whole.transpose(0, 2, 1, 3).reshape(-1, _SIDE * _SIDE)


def _wave(frequency: int) -> NDArray[np.float32]:
    """A row of the orthonormal cosine transform (DCT-II)."""
    return (np.cos((np.arange(_SIDE) + 0.5) * frequency * np.pi / _SIDE) / 2).astype(np.float32)


_BASIS = np.stack([np.outer(_wave(1), _wave(2)).ravel(), np.outer(_wave(2), _wave(1)).ravel()], 1)
