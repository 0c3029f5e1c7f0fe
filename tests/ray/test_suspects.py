"""Rows that end the process that works on them are found and rejected; deaths that have other reasons reject nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from jobs import Job
from operators.images import encode_all
from operators.models.builtin.scenes import draw, scene
from tests.ray.datasets import rows
from tests.ray.poison import Poisoned

pytestmark = pytest.mark.usefixtures("cluster")

ROWS = 24


def source(poisons):
    pictures = encode_all(draw([scene(row, 3) for row in range(ROWS)]))
    return pa.table({"image": pictures, "poison": [poisons.get(row, "") for row in range(ROWS)]})


def run(tmp_path, poisons, **options):
    (tmp_path / "started").mkdir()
    job = Job(
        source=source(poisons),
        steps=[Poisoned(notes=str(tmp_path / "started"))],
        sink={"uri": str(tmp_path / "sink"), "part_rows": 12},
        resources={"poisoned": {"batch_rows": 4}},
        max_rejects="100%",
        **options,
    )
    return job.run()


def test_a_row_that_kills_its_process_is_rejected_alone(tmp_path):
    summary = run(tmp_path, {15: "kill", 17: "crash"})
    assert dict(summary.rejected) == {"process_killed": 2}
    assert len(rows(tmp_path / "sink")) == ROWS - 2
    rejected = rows(tmp_path / "sink", "rejects")
    assert list(rejected["_error_step"]) == ["poisoned"] * 2
    assert "as after signal 9" in rejected["_error_message"][0]
    assert "signal 11, SIGSEGV" in rejected["_error_message"][1]
