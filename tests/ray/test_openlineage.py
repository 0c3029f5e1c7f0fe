"""Jobs that tell of themselves to a real server, killed, stopped and resumed: what arrives, and in which order."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import yaml

from tests.openlineage_events import PUBLISHED, check, check_published, receiver
from tests.ray.test_runs import committed, record, running, until_more_is_committed

KEY = "-".join(["open", "sesame"])


@pytest.fixture
def server():
    with receiver() as there:
        yield there


@pytest.fixture
def job_file(tmp_path, server, monkeypatch):
    """A job that takes minutes, of which the first rows can be asked for alone."""
    monkeypatch.setenv("OPENLINEAGE_API_KEY", KEY)
    job = {
        "name": "shapes",
        "source": "builtin:shapes?rows=4000",
        "steps": [{"caption": {"max_new_tokens": 8}}],
        "sink": {"uri": str(tmp_path / "sink"), "part_rows": 2},
        "lineage": {"openlineage": server.url, "running_seconds": 0.5},
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def until(process, true):
    while not true():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


def killed(job_file, cluster, server, sink):
    """A run that is killed when it has told that some rows are written."""
    begun = len(server.events)
    with running(job_file, cluster) as process:
        until_more_is_committed(process, sink)
        until(process, lambda: any(rows_out(event) for event in server.events[begun:]))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def rows_out(event):
    figures = [one["outputFacets"].get("outputStatistics", {}) for one in event["outputs"]]
    return sum(one.get("rowCount", 0) for one in figures)


def finished(job_file, cluster, rows):
    """What a run tells that does the first rows of the source."""
    with running(job_file, cluster, f"--limit={rows}", "--json") as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)


def seen(server):
    """What arrived, run by run, without repetitions."""
    states = [state for at, state in enumerate(server.states) if state not in server.states[:at]]
    runs = list(dict.fromkeys(run for run, _ in states))
    assert [run for run, _ in states] == [run for run in runs for other, _ in states if other == run]
    return runs, [[state for other, state in states if other == run] for run in runs]


def test_events_arrive_in_order_when_the_driver_is_killed_and_the_job_resumed(cluster, tmp_path, server, job_file):
    sink = tmp_path / "sink"
    killed(job_file, cluster, server, sink)
    rows = 2 * committed(sink) + 8
    summary = finished(job_file, cluster, rows)
    runs, told = seen(server)
    assert told[0] == ["START", "RUNNING", "ABORT"]
    assert told[1] in (["START", "COMPLETE"], ["START", "RUNNING", "COMPLETE"])
    for event in server.events:
        check(event)
        if PUBLISHED.exists():
            check_published(event)
    times = [event["eventTime"] for event in server.events]
    assert times == sorted(times)
    start = next(event for event in server.events if event["run"]["runId"] == runs[1])
    assert start["run"]["facets"]["jobDependencies"]["upstream"][0]["run"]["runId"] == runs[0]

    end = server.events[-1]
    figures = end["outputs"][0]["outputFacets"]["outputStatistics"]
    written = list((sink / "data").glob("part-000002-*"))
    assert (figures["fileCount"], figures["size"]) == (len(written), sum(path.stat().st_size for path in written))
    assert figures["rowCount"] == summary["rows_in"] == summary["rows_out"]
    assert summary["rows_before"] + summary["rows_in"] == rows
    (model,) = end["run"]["facets"]["latentmill_models"]["models"]
    assert model["digest"] == summary["weights"]["builtin:blip"]
    assert summary["events_unsent"] == record(sink, 2)["summary"]["events_unsent"] == 0
    assert {authorization for _, authorization in server.requests} == {f"Bearer {KEY}"}
    assert KEY not in "".join(path.read_text() for path in (sink / "_latentmill").rglob("*.json"))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_events_arrive_in_order_through_kills_stops_and_a_server_that_fails(cluster, tmp_path, server, job_file):
    sink = tmp_path / "sink"
    server.answers = [503, 500]
    killed(job_file, cluster, server, sink)
    killed(job_file, cluster, server, sink)
    server.answers = [401] * 1000
    with running(job_file, cluster) as process:
        until_more_is_committed(process, sink)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)
    assert record(sink, 3)["state"] == "stopped"
    assert record(sink, 3)["summary"]["events_trouble"] == "it answers 401 Unauthorized"
    server.answers = []
    assert finished(job_file, cluster, 2 * committed(sink) + 8)["events_unsent"] == 0
    _, told = seen(server)
    assert [[told[0], told[-1]] for told in told] == [
        ["START", "ABORT"],
        ["START", "ABORT"],
        ["START", "ABORT"],
        ["START", "COMPLETE"],
    ]
    for event in server.events:
        check(event)
