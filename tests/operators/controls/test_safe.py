"""Safe latent diffusion: the same as diffusers' at batch 1, and the same in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from diffusers import StableDiffusionPipelineSafe
from diffusers.pipelines.deprecated.stable_diffusion_safe import SafetyConfig
from pydantic import ValidationError

from operators import Column, Generate, columns
from operators.controls.safe import Safe
from operators.controls.sega import Concept, Sega
from tests.operators.floats import apart_in_company, floats, reference

ONE_ROW = pa.table({"x": [0]})


@pytest.mark.parametrize(
    ("preset", "given"),
    [
        ("weak", {"warmup": 1}),
        ("medium", {"warmup": 2}),
        ("strong", {"warmup": 0, "momentum_scale": 0.9}),
        ("max", {}),
    ],
)
def test_it_is_diffusers(diffusion_folder: Path, preset: str, given: dict[str, Any]) -> None:
    of_row: dict[str, Any] = {"prompt": "a red circle", "negative_prompt": "green", "guidance_scale": 6.0}
    configuration = getattr(SafetyConfig, preset.upper()) | {
        {"warmup": "sld_warmup_steps", "momentum_scale": "sld_momentum_scale"}[name]: value
        for name, value in given.items()
    }
    theirs = reference(
        StableDiffusionPipelineSafe, diffusion_folder, None, 7, num_inference_steps=5, **configuration, **of_row
    )
    plain = Generate(model=str(diffusion_folder), steps=5, seed=7, **of_row)
    ours = floats(plain.model_copy(update={"controls": (Safe(preset=preset, **given),)}), ONE_ROW)
    assert (ours - theirs).abs().max() < 1e-4
    assert (ours - floats(plain, ONE_ROW)).abs().max() > 2e-3


@pytest.mark.parametrize("folder", ["diffusion_folder", "sd2", "sdxl"])
def test_a_row_with_its_own_concept_is_the_same_alone(folder: str, request: pytest.FixtureRequest) -> None:
    table = pa.table(
        {
            "prompt": ["a red circle", "a star", "a ring"],
            "preset": ["max", "weak", "medium"],
            "concept": ["blue", "", "a square"],
            "warmup": [2, 0, 1],
            "beta": [0.1, 0.0, 0.9],
            columns.ROW_ID: list("abc"),
        }
    )
    names = {"preset": "preset", "concept": "concept", "warmup": "warmup", "momentum_beta": "beta"}
    control = Safe(**{option: Column(column=name) for option, name in names.items()})
    sega = Sega(concepts=(Concept(prompt="green", warmup=0),))
    spec = Generate(model=str(request.getfixturevalue(folder)), steps=4, controls=(control, sega))
    assert apart_in_company(spec, table) < 1e-4


@pytest.mark.parametrize("guidance_scale", [1.0, 6.0])
def test_a_row_without_guidance_is_kept_safe_too(diffusion_folder: Path, guidance_scale: float) -> None:
    options: Any = {"prompt": "a star", "guidance_scale": guidance_scale, "steps": 2, "seed": 1}
    plain = Generate(model=str(diffusion_folder), **options)
    safe, absent = (
        plain.model_copy(update={"controls": (Safe(preset="max", concept=concept),)}) for concept in ("blue", "")
    )
    assert (floats(safe, ONE_ROW) - floats(plain, ONE_ROW)).abs().max() > 2e-3
    assert (floats(absent, ONE_ROW) - floats(plain, ONE_ROW)).abs().max() < 1e-4


def test_wrong_use_is_refused_or_costs_its_row_alone(tiny_vae_folder: Path) -> None:
    with pytest.raises(ValidationError, match="'weak', 'medium', 'strong' or 'max'"):
        Safe(preset="strongest")
    control = Safe(preset=Column(column="preset"), momentum_beta=Column(column="beta"))
    spec = Generate(model=str(tiny_vae_folder), steps=1, controls=(control,))
    table = pa.table({"prompt": list("abcd"), "preset": ["weak", "none", "max", None], "beta": [0.5, 0.5, 1.0, 0.5]})
    errors = spec.load()(table)[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == [None, "value_invalid", "value_invalid", "value_missing"]
    assert errors[1]["message"].startswith("preset is none: ")
