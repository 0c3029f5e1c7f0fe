"""Two methods on a small PIE-Bench, as one job, and its table."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from jobs import Job
from jobs.cli import cli
from jobs.pie_bench.table import COLUMNS
from tests import pie_bench
from tests.ray.datasets import rows

pytestmark = pytest.mark.usefixtures("cluster")

CHANGES = [
    *(f"score.{network}=builtin:clip" for network in ("clip", "dino", "lpips")),
    "diffedit.steps=4",
    "img2img.steps=4",
]


def run(folder, sink, *more):
    options = [option for change in CHANGES for option in ("--set", change)]
    arguments = ["pie-bench", str(folder), "--methods", "diffedit,img2img", "--out", str(sink), *options, *more]
    cli.main(arguments, standalone_mode=False)


def test_the_table_is_of_the_rows(tmp_path, capfd):
    folder, sink = pie_bench.write(tmp_path / "pie"), tmp_path / "sink"
    run(folder, sink)
    shown = capfd.readouterr().out
    assert shown == (sink / "pie_bench.md").read_text()
    assert [line.split(" | ")[:3] for line in shown.splitlines()[2:]] == [
        [f"| {kind}", method, str(pictures)]
        for kind, pictures in (("all", 4), ("change object", 2), ("change colour", 2))
        for method in ("diffedit", "img2img")
    ]
    found = rows(sink)
    lines = json.loads((sink / "pie_bench.json").read_text())
    for line in lines:
        some = (
            found
            if line["edit_type"] == "all"
            else found[found["editing_type_id"] == "61"["object" in line["edit_type"]]]
        )
        for column in COLUMNS:
            values = some[f"{line['method']}_{column.metric}"].to_numpy(np.float64)
            values = values.clip(0) if column.metric.startswith("clip") else values
            assert line[column.metric] == pytest.approx(np.nanmean(values) * column.scale)
    told = list(csv.DictReader((sink / "pie_bench.csv").open()))
    assert [float(line["structure"]) for line in told] == pytest.approx([line["structure"] for line in lines])
    run(folder, sink, "--json")
    assert json.loads(capfd.readouterr().out) == lines


def test_scores_written_short_are_columns(tmp_path):
    job = Job.model_validate(
        {
            "source": {"uri": "builtin:shapes?rows=3", "columns": ["image", "true_caption"]},
            "steps": [
                {"edit": {"method": "img2img", "target_prompt": "a red star", "steps": 4}},
                {"score": ["clip_target", "structure", "sharpness"]},
            ],
            "sink": str(tmp_path / "sink"),
        }
    )
    summary = job.run()
    assert (summary.rows_out, summary.rejected.total()) == (3, 0)
    found = rows(tmp_path / "sink")
    assert found[["clip_target", "structure", "sharpness"]].dtypes.eq("float32").all()
    assert found[["clip_target", "structure", "sharpness"]].notna().all(None)
