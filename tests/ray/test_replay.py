"""Rows of a real job made again without Ray, and the commands that docs/lineage.md shows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from jobs import Job
from jobs.lineage.tree import lineage
from jobs.replay.replaying import Result, replay
from jobs.stores.store import Store
from operators import Caption, Column, Generate, Invert, Pix2PixZero
from tests.jobs.test_cli import latentmill

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("cluster")


def job(sink, rows, part_rows):
    """Three kinds of steps with batches of their own: neither parts nor rows are a multiple of any."""
    return Job(
        name="replayed",
        source={"uri": f"builtin:shapes?rows={rows}&seed=3", "columns": ["image", "shape"]},
        steps=[
            Caption(),
            Invert(steps=3, reconstruction=False),
            Pix2PixZero(from_=Column(column="shape"), to=("square", "ring"), steps=3),
            Generate(prompt=Column(column="edited_image_prompt"), steps=3),
        ],
        sink={"uri": str(sink), "part_rows": part_rows},
        seed=7,
        max_rejects="100%",
        resources={"caption": {"batch_rows": 4}, "generate": {"batch_rows": 5}, "default": {"batch_rows": 8}},
    )


@pytest.fixture(scope="module")
def sink(cluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    job(folder / "out" / "quickstart", 9, 7).run()
    return folder / "out" / "quickstart"


def test_every_row_of_a_job_on_ray_is_the_same_without_it(sink):
    told = replay(Store.at(str(sink)), sample=100)
    assert len(told.rows) >= 12
    assert {row.result for row in told.rows} == {Result.EQUAL}
    assert told.changed == []


def test_the_tree_tells_models_weights_machine_and_batches(sink):
    row_id = replay(Store.at(str(sink)), sample=1).rows[0].row_id
    (tree,) = lineage(Store.at(str(sink)), row_id)
    caption, invert, edit, generate = tree.steps
    assert [model.model for step in tree.steps for model in step.models] == [
        "builtin:blip",
        *["builtin:stable-diffusion"] * 3,
    ]
    assert {len(model.sha256) for step in tree.steps for model in step.models} == {64}
    assert len(tree.run["machines"]) == 1
    assert (caption.row_id, generate.row_id) == (tree.source.source_id, tree.row_id)
    assert edit.values.keys() == {"caption", "shape"}
    assert {caption.batch, generate.batch} <= {1, 2, 3, 4, 5}
    assert invert.resources["batch_rows"] == 8
    assert tree.source.uri == "builtin:shapes?rows=9&seed=3"


def test_the_commands_of_the_documents(sink, monkeypatch, capsys):
    monkeypatch.chdir(sink.parents[1])
    lines = re.findall(r"^\$ latentmill (.*)$", (ROOT / "docs" / "lineage.md").read_text(), re.MULTILINE)
    told = [latentmill(capsys, *shlex.split(line)) for line in lines]
    assert [code for code, _, _ in told] == [0] * 4
    assert [row["source"]["source_id"] for row in json.loads(told[1][1])["rows"]] == ["shapes#000003"] * 2
    assert told[2][1].startswith("shapes#000003/edit.square: equal\n")
    assert len(list(Path("replayed").iterdir())) == 4
    assert told[3][1].endswith("rows: 3 equal\n")


@pytest.mark.long
def test_two_hundred_random_rows_are_the_same_to_the_last_byte(tmp_path):
    job(tmp_path, 150, 32).run()
    told = replay(Store.at(str(tmp_path)), sample=200, seed=11)
    assert len(told.rows) == 200
    assert {row.result for row in told.rows} == {Result.EQUAL}
