"""A whole job on a store that speaks Google's protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from operators.images import encode_all
from operators.models.builtin.scenes import draw, scene
from tests.ray.datasets import outcomes, rows

ROOT = Path(__file__).parents[2]
ROWS = 8


@pytest.fixture
def job(tmp_path):
    """Writes a job that captions the pictures in ``in/`` of a bucket."""

    def written(bucket):
        path = tmp_path / "job.yaml"
        sink = {"uri": f"{bucket}/out", "part_rows": 2}
        path.write_text(yaml.safe_dump({"source": f"{bucket}/in/", "steps": ["caption"], "sink": sink}))
        return path

    return written


@pytest.fixture
def ray_folder():
    """Where Ray keeps logs and sockets, whose paths must be short."""
    folder = tempfile.mkdtemp(dir="/tmp", prefix="lm")
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


def run(path, ray_folder, **environment):
    return subprocess.run(
        [sys.executable, "-m", "jobs", "run", str(path), "--json"],
        cwd=ROOT,
        env={**os.environ, "RAY_TMPDIR": str(ray_folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def pictures():
    return [value["bytes"] for value in encode_all(draw([scene(n, 4) for n in range(ROWS)])).to_pylist()]


def written(server, bucket, to):
    server.files().get(f"{bucket}/out/", f"{to}/", recursive=True)
    return rows(to), outcomes(to)


@pytest.mark.long
def test_a_job_reads_from_and_writes_to_google_s_store(gcs, job, tmp_path, ray_folder):
    bucket = gcs.new_bucket()
    names = [f"pics/{n}.png" for n in range(ROWS)]
    for name, data in zip(names, pictures(), strict=True):
        gcs.files().pipe_file(f"{bucket}/in/{name}", data)
    table = io_table({"image": [*names[1:], f"{bucket}/in/{names[0]}"]})
    gcs.files().pipe_file(f"{bucket}/in/rows.parquet", table)
    done = run(job(f"{bucket}"), ray_folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows_out"] == ROWS
    found, ended = written(gcs, bucket, tmp_path / "copy")
    assert found["source_uri"].unique().tolist() == [f"{bucket}/in"]
    assert ended["outcome"].tolist() == ["ok"] * ROWS
    again = run(job(bucket), ray_folder)
    assert json.loads(again.stdout)["rows_in"] == 0


def io_table(columns):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())
