"""When two rows count as the same, and which rows do: by content, by pixels, or as pictures that look alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import combinations, pairwise
from math import comb
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from operators import columns
from operators.errors import RowError
from operators.images import MAX_PIXELS, decode_all

Words = NDArray[np.uint64]
Places = NDArray[np.intp]

_BITS = 64
_SIDE, _KEPT = 32, 8
"""Pixels of the small picture that a perceptual hash is made of, and how many of its frequencies are, each way."""
_AT_ONCE = 64
"""Pictures that are held decoded."""
_MOST_BANDS = 4
_ROUND = 6
"""Decimals of frequencies that are compared: below them is rounding error, which is all there is in a flat picture."""


class Likeness(StrEnum):
    """What two rows must have in common to count as the same."""

    EXACT = "exact"
    """The bytes of the file, or the value."""
    PIXELS = "pixels"
    """The decoded pixels, upright and in RGB."""
    PERCEPTUAL = "perceptual"
    """Perceptual hashes of at most some bits' difference; so does what is alike to the same third."""


class Alike(BaseModel):
    """Which rows count as the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Likeness = Field(
        Likeness.EXACT,
        description="what must be the same: `exact`, the file's bytes or the value; `pixels`, decoded; `perceptual`, "
        "how a picture looks",
    )
    column: Annotated[str, Field(min_length=1)] = Field("image", description="column that is compared")
    distance: int = Field(
        4, ge=0, le=8, description="with `perceptual`: bits of 64 in which the hashes of two pictures may differ"
    )

    @property
    def bits(self) -> int:
        """By how many bits the words of two rows may differ."""
        return self.distance if self.by is Likeness.PERCEPTUAL else 0

    def reason(self, other: str) -> str:
        """Why a row is left out that counts as the same as another one."""
        return f"{'looks like' if self.by is Likeness.PERCEPTUAL else 'the same as'} {other}"


@dataclass(frozen=True)
class Keys:
    """What is compared of some rows."""

    words: Words
    """128 bits of each row, ``(n, 2)``: a digest, or a perceptual hash and nothing."""
    known: NDArray[np.bool_]
    """Which rows have something to compare, ``(n,)``; a null or broken picture is the same as none."""

    @classmethod
    def of(cls, column: pa.ChunkedArray, by: Likeness) -> Keys:
        """Make them of a column of pictures, or of other values where these are to be the same exactly."""
        parts = [cls._some(column.slice(first, _AT_ONCE), by) for first in range(0, len(column), _AT_ONCE)]
        return cls.joined(parts)

    @classmethod
    def joined(cls, parts: list[Keys]) -> Keys:
        """Those of all rows, in order."""
        words = [part.words for part in parts] or [np.empty((0, 2), np.uint64)]
        return cls(np.concatenate(words), np.concatenate([part.known for part in parts] or [np.empty(0, bool)]))

    @classmethod
    def _some(cls, column: pa.ChunkedArray, by: Likeness) -> Keys:
        if by is Likeness.EXACT:
            return _digests([_content(value) for value in column.to_pylist()])
        pictures = [None if isinstance(each, RowError) else each for each in decode_all(column, max_pixels=MAX_PIXELS)]
        if by is Likeness.PIXELS:
            return _digests([None if p is None else b"%d %d " % p.size + p.tobytes() for p in pictures])
        known = np.array([picture is not None for picture in pictures], bool)
        words = np.zeros((len(pictures), 2), np.uint64)
        words[known, 0] = perceptual_hashes([picture for picture in pictures if picture is not None])
        return cls(words, known)


def perceptual_hashes(pictures: list[Image.Image]) -> Words:
    """The perceptual hash of each picture, as the library ImageHash has it (``phash``, 64 bits), ``(n,)``.

    The picture is made grey and 32 x 32; of its discrete cosine transform the 8 x 8 lowest frequencies are taken, and
    each bit says whether one is above their median (Zauner 2010, section 3.2.1).
    """
    if not pictures:
        return np.empty(0, np.uint64)
    small = [picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS) for picture in pictures]
    pixels = np.stack([np.asarray(picture, np.float64) for picture in small])
    frequencies = np.round(_cosines() @ pixels @ _cosines().T, _ROUND)
    above = frequencies > np.median(frequencies, axis=(1, 2), keepdims=True)
    return np.packbits(above.reshape(len(pictures), -1), axis=1).view(">u8").astype(np.uint64).ravel()


@cache
def _cosines() -> NDArray[np.float64]:
    """The discrete cosine transform's first rows, ``(8, 32)``."""
    angles = np.outer(np.arange(_KEPT), np.arange(_SIDE) + 0.5) * np.pi / _SIDE
    cosines: NDArray[np.float64] = np.cos(angles)
    return cosines


def same(keys: Keys, bits: int) -> Places:
    """For each row the first one that it counts as the same as, or itself, ``(n,)``; no matter in which order they are.

    Rows are the same if their words differ by at most ``bits`` bits of the first 64, or if both are the same as a
    third.
    """
    firsts = np.arange(len(keys.words))
    known = np.flatnonzero(keys.known)
    order = known[np.lexsort((known, keys.words[known, 1], keys.words[known, 0]))]
    sorted_words = keys.words[order]
    new = np.append(True, (sorted_words[1:] != sorted_words[:-1]).any(1))[: len(order)]
    group = np.cumsum(new) - 1
    first = order[new]
    if bits:
        roots = np.arange(len(first))
        for one, other in near(sorted_words[new, 0], bits):
            _unite(roots, one, other)
        group = _roots(roots, np.arange(len(first)))[group]
        first = np.full(len(roots), len(firsts))
        np.minimum.at(first, group, order)
    firsts[order] = first[group]
    return firsts


def near(words: Words, bits: int) -> Iterator[tuple[Places, Places]]:
    """Places of all pairs of words that differ by at most so many bits; some come more than once.

    Of ``bits + k`` bands that the 64 bits are cut into, such a pair has at least ``k`` in common, so only words are
    compared that agree in some ``k`` bands (multi-index hashing, Norouzi et al. 2012, with several bands at a time).

    Args:
        words: different ones, ``(n,)``.
        bits: 1 to 8.
    """
    together = min(range(1, _MOST_BANDS + 1), key=lambda k: _cost(len(words), bits, k))
    edges = np.linspace(0, _BITS, bits + together + 1).astype(int).tolist()
    bands = [(1 << last) - (1 << first) for first, last in pairwise(edges)]
    for chosen in combinations(bands, together):
        keys = words & np.uint64(sum(chosen))
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        at = np.flatnonzero(keys[1:] == keys[:-1])
        apart = 1
        while len(at):
            one, other = order[at], order[at + apart]
            close = np.bitwise_count(words[one] ^ words[other]) <= bits
            yield one[close], other[close]
            apart += 1
            at = at[at + apart < len(keys)]
            at = at[keys[at] == keys[at + apart]]


def _cost(count: int, bits: int, together: int) -> float:
    """Of comparing words: that of sorting them once for each choice of bands, and of the pairs that then agree."""
    pairs = count * count / 2 ** (1 + _BITS * together / (bits + together))
    return comb(bits + together, together) * (pairs + 10 * count)


def _unite(roots: Places, one: Places, other: Places) -> None:
    """Note that nodes of a forest belong together; the root of a tree is its smallest node."""
    while len(one):
        one, other = _roots(roots, one), _roots(roots, other)
        apart = one != other
        one, other = one[apart], other[apart]
        np.minimum.at(roots, np.maximum(one, other), np.minimum(one, other))


def _roots(roots: Places, nodes: Places) -> Places:
    found = roots[nodes]
    while (roots[found] != found).any():
        found = roots[found]
    roots[nodes] = found
    return found


def _digests(contents: list[bytes | None]) -> Keys:
    digests = [hashlib.blake2b(content or b"", digest_size=16).digest() for content in contents]
    words = np.frombuffer(b"".join(digests), "<u8").reshape(len(contents), 2)
    return Keys(words.astype(np.uint64), np.array([content is not None for content in contents], bool))


def _content(value: Any) -> bytes | None:
    if isinstance(value, dict) and value.keys() == {field.name for field in columns.IMAGE}:
        data: bytes | None = value["bytes"]
        return data
    return None if value is None else repr(value).encode()
