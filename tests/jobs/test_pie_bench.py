"""PIE-Bench as a source and as a job."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import SourceSpec
from jobs.commands.pie_bench import pie_bench as command
from jobs.pie_bench.job import benchmark
from jobs.sources import open_source
from jobs.sources.pie_bench import decoded
from operators.errors import SourceError, SpecError
from operators.images import decode
from operators.models.builtin.scenes import masks, scene
from tests import pie_bench


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pie_bench.write(tmp_path_factory.mktemp("pie"))


def rows(folder: Path) -> list[dict[str, Any]]:
    source = open_source(SourceSpec(uri=str(folder), format="pie_bench")).describe()
    return [row for fragment in source.fragments for table in fragment.read(2) for row in table.to_pylist()]


def test_rows_are_the_benchmarks_pictures(folder: Path) -> None:
    found = rows(folder)
    assert [row["source_id"] for row in found] == [f"{number:012d}" for number in range(4)]
    for number, row in enumerate(found):
        item = scene(number, pie_bench.SERIES)
        wanted, old, new = pie_bench.edited(item, number)
        assert (row["original_prompt"], row["editing_prompt"]) == (item.caption, wanted.caption)
        assert row["editing_instruction"] == f"change the {old} to {new}"
        assert row["editing_type_id"] == "16"[number % 2]
        assert decode(row["image"]).size == decode(row["mask"]).size == (512, 512)


def test_masks_are_the_runs_and_the_rim(folder: Path) -> None:
    for number, row in enumerate(rows(folder)):
        expected = masks([scene(number, pie_bench.SERIES)])[0].repeat(8, 0).repeat(8, 1)
        expected[[0, -1]] = expected[:, [0, -1]] = True
        assert ((np.asarray(decode(row["mask"]))[..., 0] > 127) == expected).all()


def test_runs_may_overlap_and_reach_over_the_end() -> None:
    mask = decoded([512 * 300, 20, 512 * 300 + 10, 20, 512 * 512 - 5, 100]) > 0
    assert mask[300].sum() == 30 + 1
    assert mask[1:-1, 1:-1].sum() == 29
    with pytest.raises(ValueError, match="outside"):
        decoded([512 * 512, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": [5, 6, 7]}, r"000000000000.mask: .*not as PIE-Bench has it"),
        ({"mask": [-5, 6]}, r"000000000000.mask: a run of the mask lies outside"),
        ({"editing_prompt": 3}, r"000000000000.editing_prompt: Input should be a valid string"),
    ],
)
def test_a_mapping_file_that_is_another_thing_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = pie_bench.write(tmp_path, 1) / "mapping_file.json"
    mapping = json.loads(path.read_text())
    mapping["000000000000"] |= change
    path.write_text(json.dumps(mapping))
    with pytest.raises(SourceError, match=message):
        rows(tmp_path)


def test_a_folder_without_the_benchmark_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(SourceError, match=r"no mapping_file\.json here"):
        rows(tmp_path)
    (tmp_path / "mapping_file.json").write_text("[]")
    with pytest.raises(SourceError, match="should be an object"):
        rows(tmp_path)


def test_the_job_edits_by_every_method_and_scores_each(folder: Path) -> None:
    chosen = ["pix2pix_zero", "diffedit", "img2img", "inpaint", "cycle", "instruct"]
    job = benchmark(
        str(folder), chosen, "out", "builtin:stable-diffusion", 3, ["score.clip=builtin:clip", "cycle.steps=9"]
    )
    plan = job.plan()
    assert plan.rows == 3
    assert [step.name for step in plan.steps][5:7] == ["edit-6", "score"]
    edits, scores = plan.steps[:6], plan.steps[6:]
    assert [step.spec.method for step in edits] == chosen
    assert {str(step.spec.model) for step in edits[:5]} == {"builtin:stable-diffusion"}
    assert str(edits[5].spec.model) == "timbrooks/instruct-pix2pix"
    assert edits[5].spec.target_prompt.column == "editing_instruction"
    assert (edits[4].spec.steps, edits[3].spec.steps) == (9, 50)
    assert {(step.spec.preset, str(step.spec.networks["clip"])) for step in scores} == {("pie_bench", "builtin:clip")}
    assert next(iter(scores[1].spec.writes())) == "diffedit_structure"


@pytest.mark.parametrize(
    ("chosen", "changes", "message"),
    [
        (["diffedits"], [], r"--methods: there is no edit method 'diffedits'; did you mean 'diffedit'\?"),
        (["diffedit", "diffedit"], [], "--methods: name each method once"),
        (
            ["diffedit"],
            ["cycle.steps=3"],
            r"--set cycle\.steps=3: changes begin with one of diffedit, score, resources",
        ),
        (["diffedit"], ["diffedit.step=3"], r"steps\.0\.edit\.step: there is no option 'step'; did you mean 'steps'\?"),
        (["diffedit"], ["score.lpips=best"], r"steps\.1\.score\.lpips"),
    ],
)
def test_mistakes_are_told(folder: Path, chosen: list[str], changes: list[str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        benchmark(str(folder), chosen, "out", changes=changes)


def test_the_documented_command_is_understood(folder: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "scores.md").read_text()
    (written,) = re.findall(r"^latentmill pie-bench (.+?)^```", text, re.MULTILINE | re.DOTALL)
    given = command.make_context("pie-bench", shlex.split(written.replace("\\\n", " "))).params
    job = benchmark(
        str(folder), given["methods"].split(","), given["sink"], given["model"], given["limit"], given["changes"]
    )
    assert [step.name for step in job.plan().steps] == ["edit", "edit-2", "score", "score-2"]
    assert job.resources["default"].batch_rows == 4
