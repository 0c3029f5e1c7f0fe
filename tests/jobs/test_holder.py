"""Whether the process that holds a sink lives, seen from another process; the processes are real."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.sink.holder import PATIENCE, Holder, refuse_if_held
from jobs.stores.store import Store
from operators.errors import SinkError
from tests.jobs.holding import started

ROOT = Path(__file__).parents[2]
HOUR = 3600.0


@contextlib.contextmanager
def held(sink, beat_seconds, *boot):
    """A process that holds a sink, once it does."""
    command = [sys.executable, "-m", "tests.jobs.holding", str(sink), str(beat_seconds), *boot]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_this_process_lives_and_one_with_its_number_at_another_time_has_ended():
    here = Holder.here()
    assert Holder(**here.as_json()) == here
    assert not here.has_ended()
    assert dataclasses.replace(here, process_started=here.process_started - 5).has_ended()


def test_of_a_process_on_another_machine_or_in_another_container_nothing_is_known():
    for change in ({"boot": "another"}, {"host": "another"}, {"pid_namespace": "pid:[1]"}):
        assert not dataclasses.replace(Holder.here(), process_started=0.0, **change).has_ended()


def test_a_living_run_is_told_with_who_since_when_and_what_to_do(tmp_path):
    with held(tmp_path, 0.2) as process, pytest.raises(SinkError) as refused:
        refuse_if_held(Store(str(tmp_path)), 1)
    told = str(refused.value)
    assert told.startswith(f"{tmp_path}: run held, process {process.pid} on {Holder.here().host}, writes here since 20")
    assert "last sign of life at 20" in told
    assert "`--take-over`" in told
    assert "\n" not in told


@pytest.mark.timeout(60)
def test_after_sigkill_on_this_machine_a_run_goes_on_at_once(tmp_path):
    with held(tmp_path, HOUR) as process:
        process.kill()
        process.wait()
        refuse_if_held(Store(str(tmp_path)), 1)


@pytest.mark.timeout(60)
def test_a_killed_process_that_nobody_has_waited_for_has_ended(tmp_path):
    with held(tmp_path, HOUR) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        refuse_if_held(Store(str(tmp_path)), 1)


@pytest.mark.timeout(60)
def test_a_run_that_ended_holds_nothing(tmp_path):
    with held(tmp_path, HOUR, "another-machine") as process:
        process.communicate()
        refuse_if_held(Store(str(tmp_path)), 1)


def test_a_run_on_another_machine_that_lives_is_refused(tmp_path):
    with held(tmp_path, 0.2, "another-machine"), pytest.raises(SinkError, match="run held"):
        refuse_if_held(Store(str(tmp_path)), 1)


def test_a_run_on_another_machine_is_dead_when_its_beats_stop(tmp_path):
    with held(tmp_path, 0.2, "another-machine") as process:
        process.kill()
        process.wait()
        began = time.monotonic()
        refuse_if_held(Store(str(tmp_path)), 1)
    assert time.monotonic() - began >= PATIENCE * 0.2


def test_a_run_that_hangs_here_is_dead_when_its_beats_stop(tmp_path):
    with held(tmp_path, 0.2) as process:
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        refuse_if_held(Store(str(tmp_path)), 1)
    assert time.monotonic() - began >= PATIENCE * 0.2


def test_a_start_that_never_wrote_a_record_is_waited_for_and_then_dead(tmp_path):
    started(str(tmp_path), 0.1)
    began = time.monotonic()
    refuse_if_held(Store(str(tmp_path)), 1)
    assert time.monotonic() - began >= PATIENCE * 0.1


def test_a_new_sink_is_held_by_nobody(tmp_path):
    refuse_if_held(Store(str(tmp_path)), 0)
