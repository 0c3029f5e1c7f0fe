"""Semantic guidance: the same as diffusers' at batch 1, and the same in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from diffusers import SemanticStableDiffusionPipeline
from pydantic import ValidationError

from operators import Column, Generate, columns
from operators.controls.sega import Concept, Sega
from tests.operators.floats import apart_in_company, floats, reference

ONE = [{"prompt": "blue", "warmup": 2, "guidance_scale": 60.0, "threshold": 0.77}]
TWO = [
    *ONE,
    {"prompt": "a star", "direction": "away", "warmup": 2, "guidance_scale": 40.0, "threshold": 0.5, "weight": 0.5},
]
STAGGERED = [*TWO, {"prompt": "a ring", "warmup": 4, "cooldown": 6, "guidance_scale": 50.0}]


@pytest.mark.parametrize("concepts", [ONE, TWO, STAGGERED], ids=["one", "two", "staggered"])
def test_it_is_diffusers(diffusion_folder: Path, concepts: list[dict[str, Any]]) -> None:
    given: dict[str, Any] = {"prompt": "a red circle", "negative_prompt": "green", "guidance_scale": 6.0}
    theirs = reference(
        SemanticStableDiffusionPipeline,
        diffusion_folder,
        None,
        7,
        num_inference_steps=8,
        editing_prompt=[one["prompt"] for one in concepts],
        reverse_editing_direction=[one.get("direction") == "away" for one in concepts],
        edit_guidance_scale=[one.get("guidance_scale", 5.0) for one in concepts],
        edit_warmup_steps=[one["warmup"] for one in concepts],
        edit_cooldown_steps=[one.get("cooldown", 99) for one in concepts],
        edit_threshold=[one.get("threshold", 0.9) for one in concepts],
        edit_weights=[one.get("weight", 1.0) for one in concepts],
        edit_momentum_scale=0.3,
        edit_mom_beta=0.6,
        **given,
    )
    control = {"sega": {"concepts": concepts, "momentum_scale": 0.3, "momentum_beta": 0.6}}
    plain = Generate(model=str(diffusion_folder), steps=8, seed=7, **given)
    ours = floats(plain.model_copy(update={"controls": (Sega(**control["sega"]),)}), pa.table({"x": [0]}))
    assert (ours - theirs).abs().max() < 1e-4
    assert (ours - floats(plain, pa.table({"x": [0]}))).abs().max() > 5e-3


def test_a_row_with_its_own_concepts_is_the_same_alone(diffusion_folder: Path) -> None:
    table = pa.table(
        {
            "prompt": ["a red circle", "a star", "a ring"],
            "concept": ["blue", "", "a square"],
            "direction": ["towards", "away", "away"],
            "warmup": [1, 0, 3],
            "threshold": [0.9, 0.2, 0.0],
            "strength": [3.0, 5.0, 8.0],
            "scale": [0.0, 0.2, 0.4],
            columns.ROW_ID: list("abc"),
        }
    )
    first = Concept(
        prompt=Column(column="concept"),
        direction=Column(column="direction"),
        warmup=Column(column="warmup"),
        threshold=Column(column="threshold"),
        guidance_scale=Column(column="strength"),
    )
    control = Sega(concepts=(first, Concept(prompt="green", warmup=2)), momentum_scale=Column(column="scale"))
    assert apart_in_company(Generate(model=str(diffusion_folder), steps=6, controls=(control,)), table) < 1e-4


def test_a_row_without_guidance_is_moved_too(diffusion_folder: Path) -> None:
    plain = Generate(model=str(diffusion_folder), steps=4, seed=1, guidance_scale=1.0, prompt="a star")
    moved = plain.model_copy(update={"controls": (Sega(concepts=(Concept(prompt="blue", warmup=0),)),)})
    absent = plain.model_copy(update={"controls": (Sega(concepts=(Concept(prompt="", warmup=0),)),)})
    table = pa.table({"x": [0]})
    assert (floats(moved, table) - floats(plain, table)).abs().max() > 5e-3
    assert (floats(absent, table) - floats(plain, table)).abs().max() < 1e-4


def test_a_value_out_of_range_costs_its_row_alone(tiny_vae_folder: Path) -> None:
    concept = Concept(prompt="blue", threshold=Column(column="threshold"))
    spec = Generate(model=str(tiny_vae_folder), steps=2, controls=(Sega(concepts=(concept,)),))
    result = spec.load()(pa.table({"prompt": ["a", "b", "c"], "threshold": [0.5, 1.5, None]}))
    errors = result[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == [None, "value_invalid", "value_missing"]
    assert errors[1]["message"].startswith("threshold is 1.5: ")


@pytest.mark.parametrize("options", [{}, {"concepts": []}, {"concepts": [{"prompt": "a", "warm": 1}]}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Generate(controls=[{"sega": options}])
