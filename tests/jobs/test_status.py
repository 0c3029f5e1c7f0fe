"""How far a job is, by its sink alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from jobs.sink import ledger
from jobs.sink.holder import Holder
from jobs.sink.ledger import Mode
from jobs.sink.pace import Pace
from jobs.status import State, look
from jobs.stores.store import Store
from operators.errors import SinkError
from tests.jobs.sinks import HOUR, begun, done, job
from tests.jobs.test_cli import HEAVY, latentmill


@pytest.fixture(params=["local", "memory"])
def sink(request, tmp_path):
    return str(tmp_path / "sink") if request.param == "local" else f"memory://{tmp_path.name}/sink"


@pytest.fixture
def broken(tmp_path):
    return tmp_path / "broken"


@pytest.fixture
def ended():
    """A process of this machine that was killed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = replace(Holder.here(), pid=process.pid, process_started=psutil.Process(process.pid).create_time())
    process.kill()
    process.communicate()
    return holder


def test_a_run_that_goes_on_tells_how_far_it_is(sink, broken):
    numbers = job(sink, broken)
    (broken / "table#1+fragile.b").write_text("not_finite")
    run = begun(numbers, beat_seconds=2.0)
    run.commit([0, 1])
    while (told := look(Store.at(sink))).rows_done < 6:
        assert told.state is State.RUNNING
    assert (told.rows, told.rows_done, told.rejected, told.parts) == (12, 6, {"not_finite": 1}, 2)
    assert (told.pid, told.run_id, told.job) == (psutil.Process().pid, run.start.run_id, "numbers")
    assert told.rows_per_second == 2.0
    assert told.seconds_left == pytest.approx(6 / (told.rows_per_second_lately or 2.0), rel=0.1)
    assert told.advice is None
    run.end()
    told = look(Store.at(sink))
    assert (told.state, told.seconds_left) == (State.DONE, None)
    assert "retry" in told.advice


def test_a_run_whose_process_is_gone_is_dead_and_the_next_one_goes_on(sink, broken, ended):
    numbers = job(sink, broken)
    begun(numbers, holder=ended).commit([0])
    told = look(Store.at(sink))
    assert told.state is State.DEAD
    assert "`latentmill run JOB.yaml` goes on from there" in told.advice
    assert (told.rows_done, told.parts) == (0, 1)
    assert (look(Store.at(sink), exact=True).rows_done, told.exact) == (3, False)
    begun(numbers)
    assert look(Store.at(sink)).state is State.RUNNING


def test_a_run_elsewhere_is_dead_when_it_gives_no_sign_of_life(sink, broken):
    elsewhere = replace(Holder.here(), host="elsewhere", boot="another")
    run = begun(job(sink, broken), holder=elsewhere, beat_seconds=HOUR)
    assert look(Store.at(sink)).state is State.RUNNING
    record = f"{ledger.RUNS}/{run.start.run_id}/run.json"
    told = json.loads(Store.at(sink).get(record)) | {"updated": "2026-01-01T00:00:00+00:00"}
    Store.at(sink).put(record, json.dumps(told).encode())
    assert look(Store.at(sink)).state is State.DEAD


@pytest.mark.parametrize(("error", "state"), [(OSError("disk"), State.FAILED), (KeyboardInterrupt(), State.STOPPED)])
def test_a_run_that_could_still_say_how_it_ended(sink, broken, error, state):
    run = begun(job(sink, broken))
    run.commit([0])
    run.end(error)
    told = look(Store.at(sink))
    assert (told.state, told.rows_done) == (state, 3)
    assert "goes on from there" in told.advice


def test_rows_of_all_runs_are_told_and_counting_agrees(sink, broken):
    numbers = job(sink, broken)
    (broken / "table#0").write_text("value_invalid")
    first = begun(numbers)
    first.commit([0, 1])
    first.end(KeyboardInterrupt())
    second = begun(numbers)
    second.commit([2])
    second.end(KeyboardInterrupt())
    for exact in (False, True):
        told = look(Store.at(sink), exact)
        assert (told.rows_done, told.rejected, told.parts, told.epoch) == (9, {}, 3, 2)


def test_an_overwriting_run_begins_to_count_anew(sink, broken):
    numbers = job(sink, broken)
    done(numbers)
    for parts in ([0], [1]):
        run = begun(numbers, Mode.OVERWRITE)
        run.commit(parts)
        run.end(KeyboardInterrupt())
    for exact in (False, True):
        told = look(Store.at(sink), exact)
        assert (told.rows_done, told.parts, told.mode) == (6, 2, Mode.OVERWRITE)
    assert "--overwrite" in told.advice


def test_a_sink_that_lost_its_records_is_counted(sink, broken):
    run = done(job(sink, broken))
    Store.at(sink).remove([f"{ledger.RUNS}/{run.start.run_id}/run.json"])
    told = look(Store.at(sink))
    assert (told.exact, told.rows_done, told.rows) == (True, 12, None)


def test_status_of_a_sink_on_s3(s3, broken):
    sink = f"{s3.new_bucket()}/sink"
    run = begun(job(sink, broken))
    run.commit([0])
    assert look(Store.at(sink)).parts == 1
    run.end(KeyboardInterrupt())
    assert look(Store.at(sink)).rows_done == look(Store.at(sink), exact=True).rows_done == 3


def test_where_no_job_has_written_is_one_line_and_exit_code_2(capsys, tmp_path):
    with pytest.raises(SinkError, match="no job has written here"):
        look(Store.at(f"memory://{tmp_path.name}/nothing"))
    for command in ("status", "verify"):
        code, out, err = latentmill(capsys, command, tmp_path / "nothing")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "no job has written here" in err


def test_the_command_tells_a_person_and_a_machine(capsys, tmp_path, broken):
    numbers = job(str(tmp_path / "sink"), broken)
    (broken / "table#1+fragile.b").write_text("not_finite")
    done(numbers)
    code, out, _ = latentmill(capsys, "status", tmp_path / "sink")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert (code, lines[0]) == (0, f"numbers: done -> {tmp_path}/sink")
    assert lines[1:5] == ["rows done 12 of 12 (100%)", "parts 4", "accepted 23", "rejected 1 not_finite"]
    assert lines[-1] == "`latentmill retry JOB.yaml` tries the rejected rows again"
    code, out, _ = latentmill(capsys, "status", tmp_path / "sink", "--json")
    assert (json.loads(out)["state"], json.loads(out)["rows_done"]) == ("done", 12)
    code, out, _ = latentmill(capsys, "status", tmp_path / "sink", "--watch")
    assert (code, out) == (0, "done: 12 of 12 (100%) rows, 23 accepted, 1 rejected (1 not_finite), 2.4 rows/s\n")


def test_status_imports_nothing_heavy(tmp_path, broken):
    done(job(str(tmp_path / "sink"), broken))
    code = f"""
import sys
from jobs.cli import main
try:
    main(["status", {str(tmp_path / "sink")!r}])
except SystemExit as ended:
    print(ended.code or 0, [name for name in {HEAVY} if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "0 []"


def test_pace_is_that_of_the_last_minute():
    seconds = iter([0.0, 10.0, 20.0, 40.0, 80.0, 100.0])
    pace = Pace(lambda: next(seconds))
    assert [pace.told(rows) for rows in (0, 0, 10, 30, 110, 110)] == [None, None, None, 1.0, 1.667, 1.333]
