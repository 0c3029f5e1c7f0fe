"""Disturbed in every way, started again, and done: what an undisturbed run writes, no more and no less."""

from __future__ import annotations

import random

import pytest

from tests.faults import harness
from tests.faults.harness import Kind

PLOTS = [
    [Kind.DRIVER, Kind.CUT],
    [Kind.WORKER, Kind.REFUSED, Kind.DRIVER],
    [Kind.NODE, Kind.STORE],
]


@pytest.mark.timeout(900)
def test_no_fault_loses_or_doubles_a_row():
    hit = []
    with harness.scene(rows=16, part_rows=2) as scene:
        scene.rest()
        assert len(scene.calm.outcomes) == 16
        assert {outcome for _, outcome, _, _ in scene.calm.outcomes} == {"ok", "filtered", "rejected"}
        for number, kinds in enumerate(PLOTS):
            told = scene.run(number, kinds, random.Random(number))
            assert (told.lost, told.doubled, told.altered, told.orphans) == (0, 0, 0, 0), told
            assert (told.seen_doubled, told.seen_short) == (0, 0), told
            assert told.looks
            hit += [blow.kind for blow in told.blows if blow.hit]
    assert len(set(hit)) >= 4
