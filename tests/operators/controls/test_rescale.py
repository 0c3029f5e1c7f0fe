"""Rescaled guidance: the same as diffusers' ``guidance_rescale`` at batch 1, and the same in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from diffusers import StableDiffusionPipeline

from operators import Column, Generate
from operators.controls.rescale import Rescale
from tests.operators.floats import apart_in_company, floats, reference


def test_it_is_diffusers(diffusion_folder: Path) -> None:
    given: dict[str, Any] = {"prompt": "a red circle", "guidance_scale": 20.0}
    theirs = reference(
        StableDiffusionPipeline, diffusion_folder, None, 7, num_inference_steps=5, guidance_rescale=0.6, **given
    )
    spec = Generate(model=str(diffusion_folder), steps=5, seed=7, controls=(Rescale(share=0.6),), **given)
    plain = spec.model_copy(update={"controls": ()})
    table = pa.table({"x": [0]})
    assert (floats(spec, table) - theirs).abs().max() < 1e-4
    assert (floats(plain, table) - theirs).abs().max() > 1e-3


def test_a_row_is_the_same_alone(diffusion_folder: Path) -> None:
    table = pa.table({"prompt": ["a circle", "a star", "a ring"], "share": [0.0, 0.5, 1.0], "row_id": list("abc")})
    control = Rescale(share=Column(column="share"))
    spec = Generate(model=str(diffusion_folder), steps=4, guidance_scale=20.0, controls=(control,))
    assert apart_in_company(spec, table) < 1e-4
