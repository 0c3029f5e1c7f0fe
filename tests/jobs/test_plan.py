"""What a plan says before anything runs: which steps share an actor, which columns are not written, what compiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import Job
from jobs.show import plan_as_json, shown_plan
from operators import Caption, Column, DiffEdit, Edit, Generate, Invert, Pix2PixZero, columns
from operators.errors import ColumnError, SourceError, SpecError
from operators.tensors import pack, unpack
from tests.jobs.steps import Latents, Planned, Read

SHAPES = "builtin:shapes?rows=4"
BLIP, SD = "builtin:blip", "builtin:stable-diffusion"


def planned(*steps: Any, **more: Any) -> Any:
    return Job(**{"source": SHAPES, "sink": "out", **more}, steps=steps).plan()


@pytest.mark.parametrize(
    ("models", "stages"),
    [
        ([], []),
        ([None], [[0]]),
        ([None, None], [[0], [1]]),
        ([BLIP, SD, SD], [[0], [1, 2]]),
        ([SD, BLIP, SD], [[0, 1, 2]]),
        ([SD, None, SD, BLIP], [[0, 1, 2], [3]]),
        ([SD, BLIP, SD, BLIP, None], [[0, 1, 2, 3], [4]]),
        ([SD, SD, BLIP, BLIP], [[0, 1], [2, 3]]),
    ],
)
def test_steps_from_the_first_to_the_last_with_a_model_share_an_actor(
    models: list[str | None], stages: list[list[int]]
) -> None:
    plan = planned(*(Planned(model=model) for model in models))
    assert [[plan.steps.index(step) for step in stage.steps] for stage in plan.stages] == stages


def test_the_plan_shows_what_shares_an_actor() -> None:
    plan = planned(Generate(prompt="a"), Caption(), Generate(prompt=Column(column="caption"), output="again"))
    assert "\n\ngenerate + caption + generate-2 share one actor and builtin:stable-diffusion\n\n" in shown_plan(plan)
    assert plan_as_json(plan)["stages"] == [["generate", "caption", "generate-2"]]
    apart = planned(Caption(), Generate(prompt="a"))
    assert "share" not in shown_plan(apart)
    assert plan_as_json(apart)["stages"] == [["caption"], ["generate"]]


def test_tensors_are_read_in_flight_and_written_only_when_asked_for() -> None:
    plan = planned(Latents(), Read())
    assert "latents" not in plan.output.names
    assert plan_as_json(plan)["not_kept"] == ["latents"]
    assert "\n\nnot kept: latents (tensors; keep them with sink.tensors: true)\n\n" in shown_plan(plan)
    kept = planned(Latents(), Read(), sink={"uri": "out", "tensors": True})
    assert kept.output.field("latents").type == columns.TENSOR
    assert plan_as_json(kept)["not_kept"] == []
    assert "not kept" not in shown_plan(kept)


def test_parts_with_and_without_tensors_never_mix_in_one_sink() -> None:
    def fingerprints(*steps: Planned) -> set[str]:
        sinks = [{"uri": "out", "tensors": tensors} for tensors in (False, True)]
        return {planned(*steps, sink=sink).fingerprint for sink in sinks}

    assert len(fingerprints(Latents())) == 2
    assert len(fingerprints()) == 1


def test_written_tensors_can_be_read_by_a_later_job(tmp_path: Path) -> None:
    field = planned(Latents(), sink={"uri": "out", "tensors": True}).output.field("latents")
    arrays = [np.arange(8).reshape(2, 2, 2), np.arange(3).reshape(3, 1)]
    table = pa.table([pa.chunked_array([pack(arrays), pa.nulls(1, columns.TENSOR)])], schema=pa.schema([field]))
    pq.write_table(table, tmp_path / "latents.parquet")
    plan = planned(Read(), source=str(tmp_path / "latents.parquet"))
    assert plan.schema.field("latents").metadata == {b"model": b"builtin:stable-diffusion"}
    first, second, missing = unpack(next(plan.source.fragments[0].read(10))["latents"])
    assert missing is None
    np.testing.assert_array_equal(first, arrays[0])
    np.testing.assert_array_equal(second, arrays[1])


def test_tensors_that_were_made_in_another_way_are_no_one_source(tmp_path: Path) -> None:
    for model in "ab":
        field = pa.field("latents", columns.TENSOR, metadata={"model": model})
        pq.write_table(pa.table([pack([np.ones(3)])], schema=pa.schema([field])), tmp_path / f"{model}.parquet")
    with pytest.raises(SourceError, match=r"b\.parquet: the tensors in column 'latents' .* than those of a\.parquet"):
        planned(Read(), source=str(tmp_path))
    assert planned(Read(), source=str(tmp_path / "a.parquet")).rows == 1


def test_the_main_job_is_two_stages() -> None:
    plan = planned(Caption(), Invert(), Pix2PixZero(from_="cat", to=("dog", "tiger")))
    assert [stage.names for stage in plan.stages] == [["caption"], ["invert", "edit"]]
    assert (plan.rows, plan.rows_out) == (4, 8)
    assert plan.not_kept == ["inverted_latents"]


CHANGE: Any = {"from": "cat", "to": "dog"}
OTHER: Any = {"model": "some/other"}


@pytest.mark.parametrize(
    ("invert", "edit", "told"),
    [
        (
            None,
            Pix2PixZero(**CHANGE),
            "put an `invert` step before and name its output in `latents`, or let",
        ),
        (
            None,
            DiffEdit(**CHANGE, start="inverted"),
            "there is no column 'inverted_latents'; put an `invert` step befo",
        ),
        (
            Invert(**OTHER),
            Pix2PixZero(**CHANGE, model="builtin:stable-diffusion"),
            "'inverted_latents' was inverted with `model: some/other`; this step needs",
        ),
        (
            Invert(),
            Pix2PixZero(**CHANGE, **OTHER),
            "with `model: builtin:stable-diffusion`; this step needs `model: some/other`",
        ),
        (Invert(), DiffEdit(**CHANGE, start="inverted"), "this step needs `trajectory: true`"),
        (
            Invert(trajectory=True, steps=30),
            DiffEdit(**CHANGE, start="inverted"),
            "was inverted with `steps: 30`; this step needs `steps: 50`",
        ),
        (
            Invert(trajectory=True),
            DiffEdit(**CHANGE, start="inverted", **OTHER),
            "was inverted with `model: builtin:stable-diffusion`; this step needs `model: some/other`",
        ),
    ],
)
def test_an_edit_refuses_latents_that_it_cant_go_on_from(invert: Invert | None, edit: Edit, told: str) -> None:
    steps = [Caption(), edit] if invert is None else [Caption(), invert, edit]
    with pytest.raises(ColumnError) as caught:
        planned(*steps)
    assert str(caught.value).startswith(f"steps.{len(steps) - 1}.edit: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("invert", "edit"),
    [
        (Invert(), Pix2PixZero(**CHANGE, steps=30)),
        (Invert(trajectory=True, steps=30), DiffEdit(**CHANGE, start="inverted", steps=30)),
        (Invert(trajectory=True), DiffEdit(**CHANGE, start="inverted", steps=Column(column="x"))),
        (Invert(), DiffEdit(**CHANGE)),
    ],
)
def test_an_edit_takes_latents_that_it_can_go_on_from(invert: Invert, edit: Edit) -> None:
    plan = planned(Caption(), invert, edit, source=pa.table({"image": pa.array([b"a"]), "x": [3]}))
    assert plan.output.field("edited_image").type == columns.IMAGE


def test_an_edit_takes_over_the_model_of_its_latents() -> None:
    plan = planned(Caption(), Invert(**OTHER), Pix2PixZero(**CHANGE), source=pa.table({"image": pa.array([b"a"])}))
    assert [str(model) for step in plan.steps[1:] for model in step.spec.models()] == ["some/other"] * 2
    assert [len(stage.steps) for stage in plan.stages] == [1, 2]
    assert plan.resolved()["steps"][2]["edit"]["model"] == "some/other"


def test_a_step_that_cant_be_compiled_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        planned(Caption(), resources={"caption": {"compile": True}})
    assert str(caught.value) == "resources.caption: caption can't be compiled; leave out `compile`"


def test_compile_as_the_default_is_for_the_steps_that_can_be_compiled() -> None:
    plan = planned(Caption(), Generate(prompt="a"), resources={"default": {"compile": True, "batch_rows": 3}})
    assert [(step.resources.compile, step.resources.batch_rows) for step in plan.steps] == [(False, 3), (True, 3)]
