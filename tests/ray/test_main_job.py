"""Caption, invert and edit on a real cluster: what comes out, and what it looks like to its users."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pandas as pd
import pyarrow.dataset as pads
import pytest

from jobs import Job
from jobs.reporting.report import report
from jobs.reporting.roles import Pair
from jobs.stores.store import Store
from operators import Caption, Column, Generate, Invert, Pix2PixZero
from operators.images import decode
from tests.ray.datasets import files, outcomes, rows

SOURCE = {"uri": "builtin:shapes?rows=12&seed=3", "columns": ["image", "shape", "x"]}


def shapes_job(sink, part_rows=5, **resources):
    return Job(
        source=SOURCE,
        steps=[
            Caption(),
            Invert(steps=4, reconstruction=False),
            Pix2PixZero(from_=Column(column="shape"), to=("star", "ring"), steps=4),
        ],
        sink={"uri": str(sink), "part_rows": part_rows},
        seed=7,
        resources=resources,
    )


pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def ran(cluster, tmp_path_factory):
    sink = tmp_path_factory.mktemp("main") / "sink"
    return sink, shapes_job(sink).run()


def test_every_source_row_comes_out_as_often_as_asked(ran):
    sink, summary = ran
    assert (summary.rows_in, summary.rows_out, summary.filtered, dict(summary.rejected)) == (12, 24, 0, {})
    found = rows(sink)
    expected = [f"shapes#{row:06d}/edit.{shape}" for row in range(12) for shape in ("ring", "star")]
    assert found["row_id"].tolist() == expected
    assert found["row_seed"].nunique() == 24
    assert found["source_id"].nunique() == 12
    assert set(found["run_id"]) == {summary.run_id}
    assert outcomes(sink)[["outcome", "outputs", "rejects"]].drop_duplicates().values.tolist() == [["ok", 2, 0]]


def test_columns_come_in_order_and_pass_through_unchanged(ran):
    sink, _ = ran
    schema = pads.dataset(sink / "data").schema
    added = ["caption", "inverted_latents_truncated", "edited_image", "edited_image_prompt", "edited_image_truncated"]
    assert schema.names[:8] == ["image", "shape", "x", *added]
    found = rows(sink).drop_duplicates("source_id")
    given = Job(source=SOURCE, steps=[], sink="unused").plan().source.fragments[0].read(100)
    table = next(given).to_pandas()
    pd.testing.assert_series_equal(found["x"].reset_index(drop=True), table["x"])
    assert [value["bytes"] for value in found["image"]] == [value["bytes"] for value in table["image"]]


def test_the_dataset_opens_with_pictures_in_users_tools(ran):
    sink, _ = ran
    loaded = datasets.load_dataset("parquet", data_dir=str(sink / "data"), split="train", cache_dir=str(sink / "cache"))
    assert isinstance(loaded.features["edited_image"], datasets.Image)
    assert loaded[0]["image"].size == loaded[0]["edited_image"].size == (64, 64)
    assert len(pd.read_parquet(sink / "data")) == pads.dataset(sink / "data").count_rows() == 24


def test_the_run_record_tells_what_made_the_rows(ran):
    sink, summary = ran
    record = json.loads((sink / "_latentmill" / "runs" / summary.run_id / "run.json").read_text())
    assert record["state"] == "done"
    assert record["job"]["steps"][0]["caption"]["model"] == "builtin:blip"
    assert set(record["summary"]["weights"]) == {"builtin:blip", "builtin:stable-diffusion"}
    assert all(len(digest) == 64 for digest in record["summary"]["weights"].values())
    assert record["packages"]["torch"]
    assert {name: step["rows"] for name, step in record["summary"]["steps"].items()} == {
        "caption": 12,
        "invert": 12,
        "edit": 24,
    }


def test_the_run_is_told_over_time_and_reported(ran):
    sink, summary = ran
    record = json.loads((sink / "_latentmill" / "runs" / summary.run_id / "run.json").read_text())
    for name, step in record["summary"]["steps"].items():
        lines = record["timeline"]["steps"][name]
        assert sum(lines["rows"]) == pytest.approx(step["rows"], abs=0.1)
        assert sum(lines["seconds"]) == pytest.approx(step["seconds"], abs=0.1)
    assert sum(record["timeline"]["outcomes"]["accepted"]) == 24
    assert record["source_columns"] == ["image", "shape", "x"]
    stages = record["summary"]["stages"]
    assert list(stages) == ["caption", "invert + edit"]
    assert all(0 < stage["hours"] * 3600 <= summary.seconds * stage["actors"] for stage in stages.values())
    told = report(Store.at(str(sink)), price_per_hour=1.0)
    assert told["roles"]["pairs"] == [vars(Pair("edited_image", "image", None, "caption", "edited_image_prompt"))]
    assert (len(told["rows"]), len(told["pictures"]), told["cost"]["unit"]) == (24, 36, "machine")
    assert told["cost"]["hours"] == pytest.approx(summary.seconds / 3600)


def test_running_again_finds_nothing_to_do(ran):
    sink, _ = ran
    before = files(sink)
    summary = shapes_job(sink).run()
    assert (summary.rows_before, summary.rows_in) == (12, 0)
    assert files(sink) == before


def test_another_layout_gives_the_same_rows_and_pictures(ran, tmp_path):
    sink, _ = ran
    step = {"actors": 2, "batch_rows": 3, "cpus": 0.3, "threads": 1}
    shapes_job(tmp_path / "sink", part_rows=2, caption={"cpus": 0.3, "threads": 1}, edit=step).run()
    one, other = rows(sink), rows(tmp_path / "sink")
    same = ["row_id", "source_id", "content_hash", "row_seed", "plan_fingerprint", "caption", "edited_image_prompt"]
    pd.testing.assert_frame_equal(one[same], other[same])
    apart = [
        np.abs(np.asarray(decode(a), np.int16) - np.asarray(decode(b), np.int16)).max()
        for a, b in zip(one["edited_image"], other["edited_image"], strict=True)
    ]
    assert max(apart) <= 1


def test_every_row_is_told_what_it_shall_show(ran):
    for row in rows(ran[0]).itertuples():
        assert row.edited_image_prompt == row.caption.replace(row.shape, row.row_id.rpartition(".")[2])


def test_captions_become_pictures_again(tmp_path):
    steps = [Caption(), Generate(prompt=Column(column="caption"), steps=4, images_per_row=2)]
    source = {**SOURCE, "limit": 3}
    summary = Job(source=source, steps=steps, sink=str(tmp_path / "sink")).run()
    assert (summary.rows_in, summary.rows_out) == (3, 6)
    made = rows(tmp_path / "sink")
    assert made["row_id"].tolist() == [f"shapes#{row:06d}/generate.{copy}" for row in range(3) for copy in range(2)]
    assert [decode(picture).size for picture in made["generated_image"]] == [(64, 64)] * 6
    assert len({picture["bytes"] for picture in made["generated_image"]}) == 6


def test_limit_first_and_all_later_goes_on(tmp_path):
    def job(limit):
        return Job(source={**SOURCE, "limit": limit}, steps=[], sink=str(tmp_path / "sink"))

    assert job(4).run().rows_in == 4
    summary = job(None).run()
    assert (summary.rows_before, summary.rows_in) == (4, 8)
    assert rows(tmp_path / "sink")["row_id"].tolist() == [f"shapes#{row:06d}" for row in range(12)]
