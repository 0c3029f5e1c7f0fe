"""Rows that end the process that works on them are found and rejected; other deaths reject nothing."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace

import psutil
import pytest

from jobs import Job
from jobs.formats import FORMATS, ParquetFormat, SinkFormat
from jobs.runner import run
from jobs.sources.base import Stretch
from operators.errors import ModelError, ResourceError
from tests.faults.poison import Poisoned
from tests.faults.poisoned import CODES, source
from tests.ray.datasets import rows

pytestmark = pytest.mark.usefixtures("cluster")

ROWS = 24


def job(tmp_path, poisons=None, **options):
    (tmp_path / "started").mkdir(exist_ok=True)
    return Job(
        source=source(ROWS, poisons or {}),
        steps=[Poisoned(notes=str(tmp_path / "started"), **options)],
        sink={"uri": str(tmp_path / "sink"), "part_rows": 12},
        resources={"poisoned": {"batch_rows": 4}},
        max_rejects="100%",
    )


def starts(tmp_path):
    return len(list((tmp_path / "started").glob("*.started")))


def test_rows_that_end_their_process_are_rejected_alone(tmp_path):
    summary = job(tmp_path, {15: "kill", 17: "crash"}).run()
    assert dict(summary.rejected) == {"process_killed": 2}
    assert len(rows(tmp_path / "sink")) == ROWS - 2
    rejected = rows(tmp_path / "sink", "rejects")
    assert list(rejected["row_id"]) == ["table#15", "table#17"]
    assert list(rejected["_error_step"]) == ["poisoned"] * 2
    assert "as after signal 9" in rejected["_error_message"][0]
    assert "signal 11, SIGSEGV" in rejected["_error_message"][1]
    assert starts(tmp_path) == 1 + 5 + 4


def test_every_poison_costs_its_own_row_and_has_its_own_code(tmp_path):
    poisons = {1: "nan", 4: "memory", 8: "raise", 13: "kill", 20: "undecodable"}
    summary = job(tmp_path, poisons).run()
    rejected = rows(tmp_path / "sink", "rejects")
    assert dict(zip(rejected["row_id"], rejected["_error_code"], strict=True)) == {
        f"table#{row}": CODES[poison] for row, poison in poisons.items()
    }
    assert dict(summary.rejected) == dict.fromkeys(CODES.values(), 1)
    good = rows(tmp_path / "sink")
    assert set(good["row_id"]) == {f"table#{row}" for row in range(ROWS) if row not in poisons}


def test_a_killed_process_that_no_row_ended_costs_no_row(tmp_path):
    summary = job(tmp_path, {5: "kill once", 6: "kill once", 20: "kill once"}).run()
    assert not summary.rejected
    assert summary.rows_out == ROWS
    assert starts(tmp_path) == 4


@pytest.mark.long
def test_a_step_that_ends_the_process_on_every_row_ends_the_job(tmp_path):
    with pytest.raises(ResourceError, match=r"poisoned: the process died on each of the first [45] rows"):
        job(tmp_path, dict.fromkeys(range(ROWS), "kill")).run()


def test_a_step_that_can_not_be_loaded_ends_the_job_at_once(tmp_path):
    with pytest.raises(ModelError, match="no weights"):
        job(tmp_path, loading="raise").run()
    assert starts(tmp_path) == 1


@pytest.mark.long
def test_a_step_that_ends_the_process_as_it_loads_ends_the_job(tmp_path):
    with pytest.raises(ResourceError, match="poisoned: the process died 5 times while weights were loaded"):
        job(tmp_path, loading="kill").run()
    assert starts(tmp_path) == 5


@dataclass
class Deadly(Stretch):
    """Rows that end the process that reads them."""

    rows: int | None = 4
    file_name: str = "deadly.parquet"

    def tables(self, part_rows, needed):  # noqa: ARG002
        os.kill(os.getpid(), signal.SIGKILL)
        yield from ()


class DeadlyFormat(ParquetFormat):
    """A format that ends the process that writes the part of a row."""

    def pack(self, stem, rows):
        if "table#5" in rows["row_id"].to_pylist():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().pack(stem, rows)


@pytest.mark.long
def test_a_file_that_ends_every_process_that_reads_it_ends_the_job(tmp_path):
    plan = job(tmp_path).plan()
    fragments = [replace(fragment, stretch=Deadly()) for fragment in plan.source.fragments]
    with pytest.raises(ResourceError, match=r"reading deadly\.parquet: the process died 4 times on it"):
        run(replace(plan, source=replace(plan.source, fragments=fragments)))


@pytest.mark.long
def test_a_part_that_ends_every_process_that_commits_it_ends_the_job(tmp_path):
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(FORMATS, SinkFormat.PARQUET, DeadlyFormat())
        with pytest.raises(ResourceError, match="committing the part that begins with table#0: the process died 4"):
            job(tmp_path).run()
    job(tmp_path).run()
    assert len(rows(tmp_path / "sink")) == ROWS


def test_no_process_that_takes_notes_outlives_its_run(tmp_path):
    job(tmp_path).run()
    deadline = time.monotonic() + 60
    while [process for process in psutil.Process().children(recursive=True) if taking_notes(process)]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def taking_notes(process):
    with suppress(psutil.NoSuchProcess):
        return "_Notes" in " ".join(process.cmdline())
    return False
