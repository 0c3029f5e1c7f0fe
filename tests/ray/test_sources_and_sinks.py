"""Other sources and sinks than folders: tables and datasets in memory, and a real S3 store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import yaml

from cluster.pools import map_rows
from cluster.resources import Resources
from jobs import Job, RowOptions
from jobs.sources.ray_dataset import RayDatasetSource
from operators import Caption, Generate
from operators.errors import SourceError
from operators.images import decode, encode_all
from operators.models.builtin.scenes import draw, scene
from tests.ray.datasets import outcomes, rows

ROOT = Path(__file__).parents[2]


def latentmill(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "jobs", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_arrow_table_of_prompts_becomes_pictures(cluster, tmp_path):
    table = pa.table({"prompt": ["a red circle on a blue background", None], "steps": pa.array([3, 4], pa.int16())})
    step = Generate(steps={"column": "steps"})
    summary = Job(source=table, steps=[step], sink=str(tmp_path / "sink"), max_rejects="50%").run()
    assert (summary.rows_out, dict(summary.rejected), summary.accepted) == (1, {"value_missing": 1}, True)
    made = rows(tmp_path / "sink")
    assert made["row_id"].tolist() == ["table#0"]
    assert decode(made["generated_image"][0]).size == (64, 64)
    assert pads.dataset(tmp_path / "sink" / "data").schema.field("steps").type == pa.int16()


def test_a_ray_dataset_goes_in_under_its_own_ids_whatever_its_blocks(cluster, tmp_path):
    import ray.data

    table = pa.table({"sku": [f"sku-{n}" for n in range(40)], "n": range(40)})
    for run, blocks in enumerate((7, 3)):
        dataset = ray.data.from_arrow(table).repartition(blocks)
        source = RayDatasetSource(dataset, RowOptions(id="sku"))
        summary = Job(source=source, steps=[], sink={"uri": str(tmp_path / "sink"), "part_rows": 9}).run()
        assert summary.rows_in == (40 if run == 0 else 0)
    made = rows(tmp_path / "sink")
    assert dict(zip(made["row_id"], made["n"], strict=True)) == {f"sku-{n}": n for n in range(40)}
    with pytest.raises(SourceError, match="identifies rows"):
        RayDatasetSource(dataset, RowOptions())


def test_one_step_alone_on_anyones_ray_dataset(cluster):
    import ray.data

    scenes = [scene(n, 4) for n in range(10)]
    table = pa.table({"row_id": [f"mine-{n}" for n in range(10)], "image": encode_all(draw(scenes))})
    done = map_rows(ray.data.from_arrow(table), Caption(), Resources(batch_rows=4), rows=5).to_pandas()
    said = done.set_index("row_id")["caption"].to_dict()
    assert said == {f"mine-{n}": item.caption for n, item in enumerate(scenes)}
    assert done["_error"].isna().all()


def test_a_job_reads_from_and_writes_to_s3_and_refuses_wrong_keys(s3, tmp_path):
    bucket = s3.new_bucket()
    files = s3.files()
    sink = pa.BufferOutputStream()
    table = pa.table({"image": encode_all(draw([scene(n, 4) for n in range(6)])), "number": range(6)})
    pq.write_table(table, sink)
    files.pipe_file(f"{bucket}/in/rows.parquet", bytes(sink.getvalue()))
    job = {
        "source": f"{bucket}/in/",
        "steps": ["caption"],
        "sink": {"uri": f"{bucket}/out", "part_rows": 2},
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))

    refused = latentmill("run", path, AWS_SECRET_ACCESS_KEY="wrong")
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert bucket in refused.stderr
    assert files.find(f"{bucket}/out") == []

    done = latentmill("run", path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows_out"] == 6
    files.get(f"{bucket}/out", str(tmp_path / "copy"), recursive=True)
    assert rows(tmp_path / "copy")["number"].tolist() == list(range(6))
    assert outcomes(tmp_path / "copy")["outcome"].tolist() == ["ok"] * 6
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    assert not any(secret in path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file())
