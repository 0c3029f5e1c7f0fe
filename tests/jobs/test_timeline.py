"""Rows and seconds over time, in few buckets."""

from __future__ import annotations

import json

import pytest

from jobs.sink.timeline import Timeline
from tests.jobs.test_summary import report


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def step(began, seconds, rows, card=None):
    return {"caption": {"rows": rows, "began": began, "seconds": seconds, "card": card, "weights": {}}}


def test_a_step_is_laid_out_over_the_time_that_it_took():
    clock = Clock()
    timeline = Timeline(clock)
    clock.now = 1020.0
    timeline.add(report(steps=step(1002.5, 10.0, 8, card=0.5)))
    told = timeline.as_json()
    assert told["began"] == "1970-01-01T00:16:40+00:00"
    assert told["steps"] == {"caption": {"rows": [2, 4, 2], "seconds": [2.5, 5, 2.5], "card": [0.5] * 3}}
    assert told["outcomes"]["accepted"] == [0, 0, 0, 0, 6]


def test_a_step_with_another_clock_lies_within_the_run():
    clock = Clock()
    timeline = Timeline(clock)
    clock.now = 1004.0
    timeline.add(report(steps=step(500.0, 2.0, 3)))
    timeline.add(report(steps=step(90000.0, 2.0, 3)))
    assert timeline.as_json()["steps"]["caption"]["rows"] == [6]


def test_nothing_is_lost_in_a_long_run_and_its_size_stays_small():
    clock = Clock()
    timeline = Timeline(clock, most=60)
    for part in range(2000):
        clock.now = 1000.0 + 30 * part
        timeline.add(report(steps=step(clock.now - 25, 25.0, 7, card=part / 2000)))
        timeline.add({"before": {"rows": 3}})
    told = timeline.as_json()
    lines = told["steps"]["caption"]
    assert told["bucket_seconds"] == 1280
    assert all(30 < len(line) <= 60 for line in lines.values())
    assert sum(lines["rows"]) == pytest.approx(14000, abs=0.1)
    assert sum(lines["seconds"]) == pytest.approx(50000 - 25, abs=30)
    assert lines["card"] == sorted(lines["card"])
    assert sum(told["outcomes"]["accepted"]) == 12000
    assert len(json.dumps(told)) < 5000
