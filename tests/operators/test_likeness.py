"""Which rows count as the same: by bytes, pixels and looks; in any order, and without comparing each with each."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from operators import Dedup, columns
from operators.images import Encoding, encode
from operators.likeness import Keys, Likeness, near, perceptual_hashes, same
from operators.models.builtin import scenes


def photo(seed: int, side: int = 96) -> Image.Image:
    """A smooth picture, as photographs are."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def column(data: Sequence[bytes | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([{"bytes": each, "path": None} for each in data], columns.IMAGE)])


def firsts(data: Sequence[bytes | None], by: Likeness, bits: int = 0) -> list[int]:
    return same(Keys.of(column(data), by), bits).tolist()


def jpeg(picture: Image.Image, quality: int) -> bytes:
    return encode(picture, Encoding.JPEG, quality)


def test_exact_is_by_bytes_and_pixels_by_what_they_decode_to() -> None:
    png, other = encode(photo(0)), encode(photo(1))
    again = io.BytesIO()
    photo(0).save(again, "PNG", compress_level=1)
    data = [png, other, again.getvalue(), None, png, b"broken", b"broken", None]
    assert firsts(data, Likeness.EXACT) == [0, 1, 2, 3, 0, 5, 5, 7]
    assert firsts(data, Likeness.PIXELS) == [0, 1, 0, 3, 0, 5, 6, 7]


def test_pictures_of_other_sizes_and_qualities_look_the_same() -> None:
    data = [encode(photo(seed)) for seed in range(6)]
    data += [jpeg(photo(seed), 60) for seed in range(6)]
    data += [encode(photo(seed).resize((50, 50)), Encoding.WEBP) for seed in range(6)]
    assert firsts(data, Likeness.PERCEPTUAL, 6) == [*range(6)] * 3
    assert len(set(firsts(data, Likeness.EXACT))) == 18


def test_the_hash_is_that_of_the_library() -> None:
    imagehash = pytest.importorskip("imagehash")
    pictures = [photo(seed) for seed in range(20)] + [
        Image.fromarray(p) for p in scenes.draw([scenes.scene(n, 4) for n in range(4)])
    ]
    expected = [int(str(imagehash.phash(picture)), 16) for picture in pictures]
    assert perceptual_hashes(pictures).tolist() == expected


def test_flat_pictures_of_any_colour_look_the_same() -> None:
    flat = [Image.new("RGB", (size, size), (grey, grey, grey)) for size, grey in ((20, 7), (64, 200), (333, 255))]
    assert len(set(perceptual_hashes(flat).tolist())) == 1


def test_values_are_the_same_exactly() -> None:
    keys = Keys.of(pa.chunked_array([["a", "b", None], ["a", None]]), Likeness.EXACT)
    assert same(keys, 0).tolist() == [0, 1, 2, 0, 4]


def flipped(word: int, rng: np.random.Generator, bits: int) -> int:
    for bit in rng.choice(64, bits, replace=False).tolist():
        word ^= 1 << bit
    return word


def components(words: Sequence[int], bits: int) -> list[int]:
    """The same by comparing each with each."""
    first = list(range(len(words)))
    for _ in words:
        for one, word in enumerate(words):
            for other, second in enumerate(words):
                if (word ^ second).bit_count() <= bits:
                    first[one] = min(first[one], first[other])
    return first


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_words_that_are_near_are_found_and_grouped_as_by_comparing_all(bits: int) -> None:
    rng = np.random.default_rng(bits)
    words = [int(word) for word in rng.integers(0, 2**64, 20, np.uint64)]
    for _ in range(40):
        words.append(flipped(words[rng.integers(len(words))], rng, int(rng.integers(0, bits + 3))))
    keys = Keys(np.array([words, [0] * len(words)], np.uint64).T, np.ones(len(words), bool))
    assert same(keys, bits).tolist() == components(words, bits)
    unique = np.unique(keys.words[:, 0])
    found = {
        tuple(sorted(pair))
        for one, other in near(unique, bits)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    }
    expected = {
        (one, other)
        for one in range(len(unique))
        for other in range(one + 1, len(unique))
        if int(unique[one] ^ unique[other]).bit_count() <= bits
    }
    assert found == expected


def test_groups_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    words = [int(word) for word in rng.integers(0, 2**64, 50, np.uint64)]
    words += [flipped(words[at % 50], rng, 3) for at in range(100)]
    keys = Keys(np.array([words, [0] * 150], np.uint64).T, np.ones(150, bool))
    groups = same(keys, 4)
    order = rng.permutation(150)
    shuffled = same(Keys(keys.words[order], keys.known[order]), 4)
    together = groups[order][:, None] == groups[order]
    assert ((shuffled[:, None] == shuffled) == together).all()


def test_the_step_compares_rows_of_the_same_source_row() -> None:
    png, other = encode(photo(0)), encode(photo(1))
    rows = pa.table(
        {
            columns.SOURCE_ID: ["p", "p", "p", "q", "q"],
            columns.ROW_ID: ["p/0", "p/1", "p/2", "q/0", "q/1"],
            "made": column([png, other, jpeg(photo(0), 80), png, None]),
        }
    )
    done = Dedup(by="perceptual", column="made").load()(rows)
    assert done[columns.KEPT].to_pylist() == [True, True, False, True, True]
    assert done[columns.FILTERED].to_pylist()[2] == {"step": "dedup", "reason": "looks like p/0"}
    assert Dedup(column="made").load()(rows)[columns.KEPT].to_pylist() == [True] * 5
