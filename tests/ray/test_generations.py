"""Rows of a changed plan beside those that are there, or in their place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from jobs import Job
from operators import Caption
from operators.errors import SinkError
from tests.ray.datasets import files, outcomes, rows

pytestmark = pytest.mark.usefixtures("cluster")

ROOT = Path(__file__).parents[2]


def job(sink, count, **options):
    return Job(source=f"builtin:shapes?rows={count}", steps=[], sink={"uri": str(sink), "part_rows": 2}, **options)


def test_extended_a_sink_has_old_rows_of_the_old_plan_and_new_rows_of_the_new(tmp_path):
    sink = tmp_path / "sink"
    job(sink, 4).run()
    before = rows(sink)
    longer = job(sink, 10)
    with pytest.raises(SinkError, match=r"source.uri: builtin:shapes\?rows=4 -> builtin:shapes\?rows=10"):
        longer.run()
    summary = longer.run(mode="extend")
    assert (summary.rows_before, summary.rows_in) == (4, 6)
    after = rows(sink)
    assert after["row_id"].is_unique
    assert len(after) == len(outcomes(sink)) == 10
    assert after[:4].equals(before)
    assert set(after["plan_fingerprint"][4:]) == {longer.plan().fingerprint}
    assert longer.run().rows_in == 0


def test_overwritten_a_sink_has_the_new_rows_alone(tmp_path):
    sink = tmp_path / "sink"
    job(sink, 4).run()
    anew = job(sink, 6, seed=1)
    summary = anew.run(mode="overwrite")
    assert (summary.rows_before, summary.rows_in, summary.sink) == (0, 6, str(sink))
    assert set(rows(sink)["plan_fingerprint"]) == {anew.plan().fingerprint}
    assert len(rows(sink)) == len(outcomes(sink)) == 6
    assert files(sink)["data"] == files(sink)["_latentmill/outcomes"]
    assert not [path for path in (sink / "_latentmill" / "next").rglob("*") if path.is_file()]
    assert anew.run().rows_in == 0
    assert anew.run(mode="overwrite").rows_in == 6
    assert set(rows(sink)["run_id"]) != {summary.run_id}


def test_new_rows_with_too_many_rejects_do_not_take_the_place_of_the_old(tmp_path):
    sink = str(tmp_path / "sink")
    source = pa.table({"image": pa.array([b"", b"text"], pa.binary())})
    Job(source=source, steps=[], sink=sink).run()
    before = rows(tmp_path / "sink")
    bad = Job(source=source, steps=[Caption()], sink=sink)
    summary = bad.run(mode="overwrite")
    assert not summary.accepted
    assert summary.sink == f"{sink}/_latentmill/next"
    assert len(rows(Path(summary.sink), "rejects")) == 2
    assert rows(tmp_path / "sink").equals(before)
    summary = bad.model_copy(update={"max_rejects": 2}).run(mode="overwrite")
    assert (summary.rows_before, summary.rows_in, summary.sink) == (2, 0, sink)
    assert rows(tmp_path / "sink").empty
    assert len(rows(tmp_path / "sink", "rejects")) == 2


@pytest.mark.timeout(1500)
def test_an_overwriting_run_that_is_killed_leaves_the_old_rows_and_goes_on(cluster, tmp_path):
    sink = tmp_path / "sink"
    job(sink, 24).run()
    before, committed = rows(sink), files(sink)
    path = tmp_path / "job.yaml"
    content = {"source": "builtin:shapes?rows=24", "steps": [{"caption": {"max_new_tokens": 8}}]}
    path.write_text(yaml.safe_dump(content | {"sink": {"uri": str(sink), "part_rows": 2}}))
    command = [sys.executable, "-m", "jobs", "run", str(path), "--overwrite", "--address", cluster]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE)
    following = sink / "_latentmill" / "next"
    while len(files(following)["_latentmill/outcomes"]) < 3:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert files(sink) == committed
    assert rows(sink).equals(before)
    assert job(sink, 24).run().rows_in == 0
    summary = Job.from_yaml(path).run(mode="overwrite")
    assert summary.rows_before >= 6
    assert summary.rows_before + summary.rows_in == 24
    assert len(rows(sink)) == 24
    assert rows(sink)["caption"].notna().all()
    assert rows(sink)["row_id"].is_unique
