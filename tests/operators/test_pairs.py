"""Scenes of two objects and outlines are what they say, and the reader tells what is in a picture of two."""

from __future__ import annotations

import numpy as np
import pytest

from operators.models.builtin.pairs import draw_pairs, pair
from operators.models.builtin.reading import object_mask, read_both, shows
from operators.models.builtin.scenes import COLOURS, HELD_OUT_SERIES, SHAPES, coverage, draw, masks, outlines, scene

SOME = [pair(index, HELD_OUT_SERIES) for index in range(150)]


def test_pairs_vary_and_depend_on_their_number_alone() -> None:
    firsts = [item.first for item in SOME]
    assert {item.shape for item in firsts} == set(SHAPES)
    assert {item.colour for item in firsts} == {item.background for item in firsts} == set(COLOURS)
    for item in SOME:
        assert len({item.first.shape, item.second.shape}) == 2
        assert len({item.first.colour, item.second.colour, item.first.background}) == 3
    assert pair(17, HELD_OUT_SERIES) == SOME[17] != pair(17, HELD_OUT_SERIES + 1)
    things = f"a {SOME[0].first.colour} {SOME[0].first.shape} and a {SOME[0].second.colour} {SOME[0].second.shape}"
    assert SOME[0].caption == f"{things} on a {SOME[0].first.background} background"


def test_the_objects_of_a_pair_are_whole_and_apart() -> None:
    for item in SOME:
        one, other = (coverage(s.shape, s.x, s.y, s.radius) > 0 for s in (item.first, item.second))
        assert not (one & other).any()
        for cover in (one, other):
            assert not cover[[0, -1]].any()
            assert not cover[:, [0, -1]].any()


@pytest.mark.parametrize("noise", [0.0, 12.0])
def test_the_reader_finds_both_objects_of_every_pair(noise: float) -> None:
    pictures = draw_pairs(SOME)
    pictures = np.clip(pictures + np.random.default_rng(0).normal(0, noise, pictures.shape), 0, 255).astype(np.uint8)
    for picture, item in zip(pictures, SOME, strict=True):
        seen = read_both(picture)
        assert shows(seen, item.first, item.second), item.caption
        assert {reading.background for reading in seen} == {item.first.background}
        for one in (item.first, item.second):
            (reading,) = (reading for reading in seen if reading.shape == one.shape)
            assert np.hypot(reading.x - one.x, reading.y - one.y) < 1.5


def test_the_reader_misses_what_is_not_there() -> None:
    singles = [item.first for item in SOME]
    for picture, item in zip(draw(singles), SOME, strict=True):
        seen = read_both(picture)
        assert shows(seen, item.first)
        assert not shows(seen, item.first, item.second)
    assert read_both(np.full((64, 64, 3), COLOURS["blue"], np.uint8)) == []


def test_an_outline_is_one_pixel_wide_and_encloses_its_object() -> None:
    true = masks([scene(index, HELD_OUT_SERIES) for index in range(40)])
    drawn = outlines(true)
    assert set(np.unique(drawn)) == {0, 255}
    lines = drawn[..., 0] > 0
    assert (lines <= true).all()
    inner = true & ~lines
    # What lies inside touches nothing outside: the line has no gap.
    for axis in (1, 2):
        for turn in (-1, 1):
            assert not (np.roll(inner, turn, axis) & ~true).any()
    assert inner.any((1, 2)).all()


def test_the_mask_that_is_read_is_the_objects() -> None:
    items = [scene(index, HELD_OUT_SERIES) for index in range(40)]
    for picture, mask in zip(draw(items), masks(items), strict=True):
        seen = object_mask(picture)
        assert (seen & mask).sum() / (seen | mask).sum() > 0.93
    assert not object_mask(np.full((64, 64, 3), COLOURS["blue"], np.uint8)).any()
