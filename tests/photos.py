"""A folder of real photographs as people have them: many modes and formats, and a few files that are none."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data


@dataclass(frozen=True)
class Photos:
    """The folder, and what should become of each file, by its path in the folder."""

    folder: Path
    good: dict[str, tuple[int, int]]
    """Width and height of the upright picture."""
    bad: dict[str, str]
    """Code of the error."""


def photo(name: str) -> Image.Image:
    """One of scikit-image's photographs: astronaut, chelsea, coffee, rocket."""
    return Image.fromarray(getattr(data, name)())


def make_photos(folder: Path) -> Photos:
    """Write the folder: 16 good files in three folders, 7 bad ones."""
    good = {}
    for name, write in _GOOD.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        good[name] = write(path)
    for name, (content, _) in _BAD.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content())
    return Photos(folder, good, {name: code for name, (_, code) in _BAD.items()})


def bomb(width: int = 10_000, height: int = 10_000) -> bytes:
    """A whole, valid PNG of 100 megapixels in a few kilobytes."""
    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(1 + width // 8)) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def encoded(image: Image.Image, encoding: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, encoding, **options)
    return buffer.getvalue()


def _size(path: Path, image: Image.Image, encoding: str, **options: object) -> tuple[int, int]:
    path.write_bytes(encoded(image, encoding, **options))
    return image.size


def _turned(path: Path, orientation: int) -> tuple[int, int]:
    """A photograph stored lying on its side, as a telephone does, with the note that tells so."""
    image = photo("rocket").crop((100, 0, 400, 427))
    undo = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.write_bytes(encoded(image.transpose(undo[orientation]), "JPEG", exif=exif, quality=95))
    return image.size


def _sixteen_bit(path: Path) -> tuple[int, int]:
    grey = np.asarray(photo("coffee").convert("L")).astype(np.uint16) * 257
    return _size(path, Image.fromarray(grey), "PNG")


def _palette_with_alpha(path: Path) -> tuple[int, int]:
    image = photo("chelsea").resize((200, 133)).convert("RGBA")
    alpha = np.full((133, 200), 255, np.uint8)
    alpha[:, :50] = 0
    image.putalpha(Image.fromarray(alpha))
    return _size(path, image.quantize(64), "PNG")


def _transparent(path: Path) -> tuple[int, int]:
    image = photo("astronaut").resize((128, 128)).convert("RGBA")
    image.putalpha(Image.radial_gradient("L").resize((128, 128)))
    return _size(path, image, "PNG")


def _animated(path: Path, encoding: str) -> tuple[int, int]:
    first, *others = (photo(name).resize((96, 80)) for name in ("chelsea", "coffee", "rocket"))
    return _size(path, first, encoding, save_all=True, append_images=others)


_GOOD: dict[str, Callable[[Path], tuple[int, int]]] = {
    "astronaut.png": lambda path: _size(path, photo("astronaut"), "PNG"),
    "cats/chelsea.jpg": lambda path: _size(path, photo("chelsea"), "JPEG", quality=95),
    "cats/chelsea grey.jpg": lambda path: _size(path, photo("chelsea").convert("L"), "JPEG"),
    "cats/chelsea palette alpha.png": _palette_with_alpha,
    "cats/chelsea small.webp": lambda path: _size(path, photo("chelsea").resize((90, 60)), "WEBP"),
    "coffee 16 bit.png": _sixteen_bit,
    "coffee cmyk.jpg": lambda path: _size(path, photo("coffee").convert("CMYK"), "JPEG", quality=95),
    "coffee one bit.png": lambda path: _size(path, photo("coffee").convert("1"), "PNG"),
    "coffee.tiff": lambda path: _size(path, photo("coffee").resize((300, 200)), "TIFF"),
    "moving/three.gif": lambda path: _animated(path, "GIF"),
    "moving/three.webp": lambda path: _animated(path, "WEBP"),
    "rocket left.jpg": lambda path: _turned(path, 8),
    "rocket on its head.jpg": lambda path: _turned(path, 3),
    "rocket right.jpg": lambda path: _turned(path, 6),
    "see through.png": _transparent,
    "truly a png.jpg": lambda path: _size(path, photo("astronaut").resize((70, 50)), "PNG"),
}

_BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "bad/bomb.png": (bomb, "image_too_large"),
    "bad/broken.png": (lambda: _with_noise(encoded(photo("chelsea").resize((90, 60)), "PNG")), "image_undecodable"),
    "bad/cut.jpg": (lambda: encoded(photo("rocket"), "JPEG")[:9000], "image_truncated"),
    "bad/cut.png": (lambda: encoded(photo("rocket").resize((90, 60)), "PNG")[:4000], "image_truncated"),
    "bad/empty.jpg": (lambda: b"", "image_empty"),
    "bad/notes.txt": (lambda: b"Ask Ann for the rest of the pictures.\n", "image_undecodable"),
    "bad/text.jpg": (lambda: b"<html><body>404 not found</body></html>", "image_undecodable"),
}


def _with_noise(png: bytes) -> bytes:
    middle = len(png) // 2
    return png[:middle] + bytes(reversed(png[middle : middle + 200])) + png[middle + 200 :]
