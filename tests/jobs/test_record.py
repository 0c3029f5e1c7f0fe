"""The record of a run while it lives and as it ends."""

from __future__ import annotations

import json
import time

import pytest

from jobs.stores.store import Store
from jobs.summary import Summary
from operators.errors import SinkError
from tests.jobs.holding import started

BEAT = 0.05


def record_of(sink):
    return json.loads(Store(str(sink)).get("_latentmill/runs/held/run.json"))


def until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(BEAT)


def test_the_record_beats_and_tells_the_counts_so_far(tmp_path):
    _, record = started(str(tmp_path), BEAT)
    with record:
        first = record_of(tmp_path)
        assert (first["state"], first["beat"], first["rows"], first["mode"]) == ("running", 1, 2, "run")
        assert first["sink"] == str(tmp_path)
        record.tell(Summary("held", "out", rows_in=7))
        until(lambda: record_of(tmp_path)["beat"] > 3)
        later = record_of(tmp_path)
    assert later["summary"]["rows_in"] == 7
    assert later["updated"] > first["updated"]
    assert "ended" not in later
    last = record_of(tmp_path)
    assert last["state"] == "done"
    assert last["beat"] > later["beat"]
    assert last["ended"] >= later["updated"]
    assert last["summary"]["rows_in"] == 7


@pytest.mark.parametrize(
    ("error", "state"), [(SinkError, "failed"), (ZeroDivisionError, "failed"), (KeyboardInterrupt, "stopped")]
)
def test_how_a_run_ended_is_in_its_record(tmp_path, error, state):
    _, record = started(str(tmp_path), BEAT)
    with pytest.raises(error), record:
        raise error("why")
    assert record_of(tmp_path)["state"] == state


@pytest.fixture
def sink(tmp_path):
    """A sink that can be taken away and brought back at one stroke: a link to a folder, or to a file."""
    (tmp_path / "there").mkdir()
    (tmp_path / "gone").write_text("not a folder")
    (tmp_path / "sink").symlink_to("there")
    return tmp_path / "sink"


def point(sink, to):
    link = sink.with_name("link")
    link.symlink_to(to)
    link.replace(sink)


def test_a_store_that_is_away_for_a_while_does_not_end_the_record(sink):
    _, record = started(str(sink), BEAT)
    with record:
        point(sink, "gone")
        time.sleep(4 * BEAT)
        point(sink, "there")
        before = record_of(sink)["beat"]
        until(lambda: record_of(sink)["beat"] > before)
    assert record_of(sink)["state"] == "done"


def test_a_store_that_stays_away_is_told_at_the_end(sink):
    _, record = started(str(sink), BEAT)
    with pytest.raises(SinkError, match="a part of this path is a file"), record:
        point(sink, "gone")


def test_what_ended_the_run_is_told_rather_than_that_it_can_not_be_recorded(sink):
    _, record = started(str(sink), BEAT)
    with pytest.raises(ZeroDivisionError), record:
        raise ZeroDivisionError(point(sink, "gone"))
