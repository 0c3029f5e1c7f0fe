"""Runs as processes: two at once on a sink, one that is stopped, one whose sink is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.ray.datasets import files, rows

ROOT = Path(__file__).parents[2]
ROWS = 4000


@pytest.fixture
def job_file(tmp_path):
    """A job that takes minutes and commits every second or so."""
    job = {
        "source": f"builtin:shapes?rows={ROWS}",
        "steps": [{"caption": {"max_new_tokens": 8}}],
        "sink": {"uri": str(tmp_path / "sink"), "part_rows": 2},
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


@contextlib.contextmanager
def running(job_file, cluster, *options):
    command = [sys.executable, "-m", "jobs", "run", str(job_file), "--address", cluster, *options]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def committed(sink):
    return len(files(sink)["_latentmill/outcomes"])


def until_more_is_committed(process, sink):
    before = committed(sink)
    while committed(sink) <= before:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)


def one_line(process):
    """What a process that ends says, and its exit code."""
    out, err = process.communicate(timeout=300)
    assert out == ""
    assert err.strip().count("\n") == 0, err
    return err.strip(), process.returncode


def record(sink, nth):
    """The record of the nth start."""
    run_id = json.loads((sink / "_latentmill" / "epochs" / f"{nth:06d}.json").read_text())["run_id"]
    return json.loads((sink / "_latentmill" / "runs" / run_id / "run.json").read_text())


@pytest.mark.timeout(1500)
def test_a_second_run_is_refused_while_the_first_lives_and_goes_on_when_it_was_killed(cluster, tmp_path, job_file):
    sink = tmp_path / "sink"
    with running(job_file, cluster) as first:
        until_more_is_committed(first, sink)
        with running(job_file, cluster) as second:
            told, code = one_line(second)
        assert code == 2
        assert f"{job_file}:1: sink: {sink}: run {record(sink, 1)['run_id']}, process {first.pid} on " in told
        assert "`--take-over`" in told
        assert not (sink / "_latentmill" / "epochs" / "000002.json").exists()
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert record(sink, 1)["state"] == "running"
    with running(job_file, cluster) as third:
        until_more_is_committed(third, sink)
        with running(job_file, cluster, "--take-over") as fourth:
            told, code = one_line(third)
            assert code == 2
            assert "another run has taken over this sink" in told
            until_more_is_committed(fourth, sink)
    assert record(sink, 2)["state"] == "failed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_says_so_in_its_record(cluster, tmp_path, job_file, number):
    with running(job_file, cluster) as process:
        until_more_is_committed(process, tmp_path / "sink")
        process.send_signal(number)
        told, code = one_line(process)
    assert code == 130
    assert told == "latentmill: stopped; what was committed is kept, and running it again goes on from there"
    assert record(tmp_path / "sink", 1)["state"] == "stopped"


def test_a_sink_that_is_lost_ends_the_run_in_one_line_and_the_next_goes_on(cluster, tmp_path, job_file):
    there, sink = tmp_path / "there", tmp_path / "sink"
    there.mkdir()
    sink.symlink_to(there)
    with running(job_file, cluster) as process:
        until_more_is_committed(process, sink)
        (tmp_path / "gone").write_text("no folder")
        (tmp_path / "link").symlink_to(tmp_path / "gone")
        (tmp_path / "link").replace(sink)
        told, code = one_line(process)
    assert code == 2
    assert f"sink: {sink}: " in told
    (tmp_path / "link").symlink_to(there)
    (tmp_path / "link").replace(sink)
    done = committed(sink)
    with running(job_file, cluster) as process:
        until_more_is_committed(process, sink)
    assert committed(sink) > done
    assert rows(sink)["row_id"].is_unique
