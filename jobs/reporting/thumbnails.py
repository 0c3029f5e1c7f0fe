"""Pictures for a page of bounded size: small WebPs, each different picture once."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from operators.errors import RowError
from operators.images import Encoding, decode, encode

_THREADS = 8
_SIZES = ((384, 80), (320, 74), (256, 66), (192, 60), (128, 50), (96, 40), (64, 30), (32, 20))
"""Longest side and quality, from the best: the first that is small enough is taken."""
_LEAST, _MOST = 600, 24_000
"""Bytes of a picture."""


class Thumbnails:
    """Collects pictures and tells their numbers.

    Args:
        budget: bytes of all pictures together, as they are written into the page.
        pictures: how many will come, so that each gets its share.
    """

    def __init__(self, budget: int, pictures: int) -> None:
        self._left = budget
        self._most = min(max(budget * 3 // 4 // max(pictures, 1), _LEAST), _MOST)
        self._known: dict[bytes, int | None] = {}
        self.encoded: list[str] = []
        """WebP in base64, by number."""

    def add(self, values: Sequence[Mapping[str, Any] | None]) -> list[int | None]:
        """Take in values of a column of pictures: the number of each, or None if it is none or finds no room."""
        digests = [_digest(value) for value in values]
        new = {digest: value for digest, value in zip(digests, values, strict=True) if digest not in self._known}
        with ThreadPoolExecutor(_THREADS) as pool:
            small = pool.map(lambda value: _small(value, self._most), new.values())
            for digest, data in zip(new, small, strict=True):
                self._known[digest] = self._number(data)
        return [self._known[digest] for digest in digests]

    def _number(self, data: bytes | None) -> int | None:
        if data is None or len(data) * 4 // 3 > self._left:
            return None
        self.encoded.append(base64.b64encode(data).decode())
        self._left -= len(self.encoded[-1])
        return len(self.encoded) - 1


def _digest(value: Mapping[str, Any] | None) -> bytes:
    return hashlib.blake2b((value and value["bytes"]) or b"", digest_size=16).digest()


def _small(value: Mapping[str, Any] | None, most: int) -> bytes | None:
    """The largest thumbnail of at most so many bytes; None of what is no picture."""
    try:
        picture = decode(value)
    except RowError:
        return None
    for side, quality in _SIZES:
        small = picture.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        data = encode(small, Encoding.WEBP, quality)
        if len(data) <= most:
            return data
    return None
