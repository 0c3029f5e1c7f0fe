"""Pictures: from encoded bytes to pixels and back. The content decides what a picture is, never its name."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

from operators import columns
from operators.errors import (
    ImageEmptyError,
    ImageError,
    ImageMissingError,
    ImageTooLargeError,
    ImageTruncatedError,
    RowError,
)
from operators.marks.metadata import Metadata, with_xmp

MAX_PIXELS = 50_000_000
"""Pictures of more pixels than this are refused unless said otherwise: 150 MB once decoded."""

BAD_CONTENT = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers let through when a file contradicts itself."""

_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND", b"GIF8": b"\x3b"}
"""How files of a format begin and how whole ones end."""

_ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}
"""Where a format's usual ending is not its name."""

_SECRET = re.compile(r"(?<=://)[^/@]*:[^/@]*@|\?.*")
"""What messages leave out of a path or URI: a password, a signature."""

_ORIENTATION = 0x0112
_ON_ITS_SIDE = range(5, 9)
"""Values of EXIF's orientation by which width and height change places."""

_SIXTEEN_BIT = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})

T = TypeVar("T")
R = TypeVar("R")


class Encoding(StrEnum):
    """A format that pictures are written in."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


def decode(value: Mapping[str, Any] | None, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture to 8-bit RGB, upright.

    EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled, of an animation the first
    frame is taken. JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000, AVIF and Netpbm are known.

    Args:
        value: ``{"bytes": ..., "path": ...}``, a row of a column of type :data:`operators.columns.IMAGE`.
        max_pixels: pictures of more pixels are refused before they are decoded. Pillow's own guard, at twice
            ``PIL.Image.MAX_IMAGE_PIXELS``, stays in force.

    Raises:
        ImageMissingError: there are no bytes.
        ImageEmptyError: there are zero bytes.
        ImageTooLargeError: width times height is above ``max_pixels``.
        ImageTruncatedError: the file ends early.
        ImageError: it is not a picture, or a broken one.
    """
    data = _data(value)
    try:
        image = Image.open(io.BytesIO(data), formats=_formats())
        _refuse_large(image.width, image.height, max_pixels)
        image.load()
        return _rgb(_upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(f"the picture has more than {max_pixels} pixels") from error
    except UnidentifiedImageError as error:
        _refuse_cut(data, error)
        raise ImageError(f"the {len(data)} bytes are no picture in a known format") from error
    except BAD_CONTENT as error:
        _refuse_cut(data, error)
        raise ImageError(f"the picture is broken: {error}") from error


def decode_all(pictures: pa.Array | pa.ChunkedArray, *, max_pixels: int = MAX_PIXELS) -> list[Image.Image | RowError]:
    """Decode a column of type :data:`operators.columns.IMAGE`: one picture, or why there is none, per row in order."""
    return _threaded(partial(_decoded, max_pixels=max_pixels), pictures.to_pylist())


def sizes(pictures: pa.Array | pa.ChunkedArray) -> list[tuple[int, int] | RowError | None]:
    """Widths and heights of a column of type :data:`operators.columns.IMAGE`, upright, without decoding pixels.

    None for a null; or why there is no picture.
    """
    return [None if value is None else _size(value) for value in pictures.to_pylist()]


def encode(
    image: Image.Image,
    encoding: Encoding = Encoding.PNG,
    quality: int = 95,
    metadata: Metadata = Metadata(),  # noqa: B008 - it can't be changed
) -> bytes:
    """Encode a picture.

    Args:
        image: the picture, in a mode that the format can hold.
        encoding: the format; PNG loses nothing.
        quality: 1 to 100, for JPEG and WebP.
        metadata: what the file says beside the pixels.
    """
    buffer = io.BytesIO()
    given: dict[str, Any] = {} if encoding is Encoding.PNG else {"quality": quality}
    if metadata.exif is not None:
        given["exif"] = metadata.exif
    # Left out, it would be the one that came with the picture, whose colours may have been others.
    image.save(buffer, encoding, icc_profile=metadata.icc, **given)
    return buffer.getvalue() if metadata.xmp is None else with_xmp(buffer.getvalue(), metadata.xmp)


def encode_all(
    pictures: NDArray[np.uint8] | Sequence[Image.Image],
    encoding: Encoding = Encoding.PNG,
    quality: int = 95,
    metadata: Sequence[Metadata] | None = None,
) -> pa.StructArray:
    """Encode pictures, given as RGB values ``(n, height, width, 3)`` or as images, each with its metadata if given.

    Returns:
        ``n`` rows of type :data:`operators.columns.IMAGE`; their paths are null.
    """
    images = [Image.fromarray(p) for p in pictures] if isinstance(pictures, np.ndarray) else pictures
    told = metadata or [Metadata()] * len(images)
    encoded = _threaded(lambda each: encode(each[0], encoding, quality, each[1]), zip(images, told, strict=True))
    paths = pa.nulls(len(encoded), pa.string())
    return pa.StructArray.from_arrays([pa.array(encoded, pa.binary()), paths], fields=list(columns.IMAGE))


def ending(data: bytes) -> str | None:
    """What names of files that hold such a picture end in, as in ``png``; None where it is in no known format."""
    try:
        name = Image.open(io.BytesIO(data), formats=_formats()).format
    except (*BAD_CONTENT, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    return _ENDINGS.get(name, name.lower()) if name else None


def _size(value: Mapping[str, Any]) -> tuple[int, int] | RowError:
    try:
        data = _data(value)
        image = Image.open(io.BytesIO(data), formats=_formats())
        # To look for what a PNG says behind its pixels, Pillow would decode these.
        turned = image.format != "PNG" and image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
    except RowError as error:
        return error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return ImageTooLargeError("the picture has more pixels than Pillow opens")
    except BAD_CONTENT as error:
        return ImageError(f"the picture is broken: {error}")
    return (image.height, image.width) if turned else image.size


def _data(value: Mapping[str, Any] | None) -> bytes:
    if value is None:
        raise ImageMissingError("the picture is null")
    if value["bytes"] is None:
        raise ImageMissingError(
            f"nothing could be read at {_SECRET.sub('', value['path'])!r}" if value["path"] else "there are no bytes"
        )
    if not value["bytes"]:
        raise ImageEmptyError("the picture has zero bytes")
    return bytes(value["bytes"])


def _decoded(value: Mapping[str, Any] | None, max_pixels: int) -> Image.Image | RowError:
    try:
        return decode(value, max_pixels=max_pixels)
    except RowError as error:
        return error


def _refuse_large(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageTooLargeError(f"{width} x {height} pixels are more than the {max_pixels} allowed")


def _refuse_cut(data: bytes, error: Exception) -> None:
    """Tell a file that ends early from one that is wrong inside, once it failed to decode.

    Raises:
        ImageTruncatedError: it ends early.
    """
    if data[:4] == b"RIFF":
        cut = len(data) < 8 or len(data) < 8 + int.from_bytes(data[4:8], "little")
    else:
        cut = any(data.startswith(start) and end not in data[-64:] for start, end in _ENDS.items())
    if cut or "truncated" in str(error).lower():
        raise ImageTruncatedError(f"the picture ends after {len(data)} bytes, before it is complete") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except BAD_CONTENT:
        # Many cameras and editors write broken EXIF beside sound pixels.
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        return _from_sixteen_bit(image)
    if image.mode == "F":
        raise ImageError("floating-point pixels have no agreed white")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _from_sixteen_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError("32-bit pixels have no agreed white")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


@cache
def _formats() -> tuple[str, ...]:
    """Formats of photographs: none that runs a program (EPS) or has no signature to know it by (TGA)."""
    optional = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
    built = [name for name, feature in optional.items() if features.check(feature)]
    return ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", *built)


def _threaded(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Map in a few threads: Pillow lets go of the interpreter lock while it works."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))
