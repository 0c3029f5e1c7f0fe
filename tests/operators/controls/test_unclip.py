"""Stable unCLIP: the same as diffusers' at batch 1, and the same in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from diffusers import StableUnCLIPImg2ImgPipeline
from pydantic import ValidationError

from operators import Column, DiffEdit, Generate, Invert, Pix2PixZero, columns
from operators.errors import ModelError
from operators.images import decode_all
from operators.models.loading import Precision
from tests.operators import edits, tiny_conditions
from tests.operators.floats import apart_in_company, floats

NEAR, FAR = 1e-4, 5e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sd2: Path) -> Path:
    return tiny_conditions.unclip(tmp_path_factory.mktemp("models") / "unclip", sd2)


@pytest.mark.parametrize(("guidance_scale", "noise_level"), [(6.0, 0), (6.0, 60), (1.0, 60)])
def test_it_is_diffusers(folder: Path, pictures: pa.StructArray, guidance_scale: float, noise_level: int) -> None:
    given: dict[str, Any] = {"prompt": "a red circle", "negative_prompt": "blue", "guidance_scale": guidance_scale}
    pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    made = pipeline(
        image=decode_all(pictures[:1])[0],
        # Here a row's generator draws the latents first, in diffusers behind the noise of the embedding.
        latents=torch.randn(1, 4, 16, 16, generator=generator),
        generator=generator,
        noise_level=noise_level,
        num_inference_steps=5,
        output_type="np",
        **given,
    )
    theirs = torch.from_numpy(made.images).permute(0, 3, 1, 2)
    control = {"unclip": {"noise_level": noise_level}}
    spec = Generate(model=str(folder), steps=5, seed=7, controls=[control], **given)
    ours = floats(spec, pa.table({"image": pictures[:1]}))
    assert (ours - theirs).abs().max() < NEAR
    assert (ours - floats(spec, pa.table({"image": pictures[3:4]}))).abs().max() > FAR


def test_a_row_with_its_own_picture_is_the_same_alone(folder: Path, pictures: pa.StructArray) -> None:
    table = pa.table(
        {
            "prompt": ["a red circle", "a star", "a ring"],
            "picture": pictures[:3],
            "level": [0, 99, 40],
            "guidance_scale": [3.0, 9.0, 4.0],
            columns.ROW_ID: list("abc"),
        }
    )
    sega = {"sega": {"concepts": [{"prompt": "blue", "warmup": 0}]}}
    control = {"unclip": {"image": "picture", "noise_level": {"column": "level"}}}
    scale = Column(column="guidance_scale")
    spec = Generate(model=str(folder), steps=3, guidance_scale=scale, controls=[control, sega])
    assert apart_in_company(spec, table) < NEAR


def test_reference_and_edit_of_pix2pix_zero_are_told_of_the_same_picture(
    folder: Path, pictures: pa.StructArray
) -> None:
    table = pa.table({"caption": ["a red circle", "a star"], "target": ["a blue circle", "a blue star"]})
    table = table.append_column("image", pictures[:2]).append_column(columns.ROW_ID, pa.array(["a", "b"]))
    spec = Pix2PixZero(
        model=str(folder), start="noise", steps=2, target_prompt=Column(column="target"), controls=["unclip"]
    )
    together = edits.floats(spec, table)
    for row in range(2):
        [(target, alone)] = edits.floats(spec, table.slice(row, 1)).items()
        assert (alone - together[target]).abs().max() < NEAR


def test_a_level_that_the_model_does_not_have_costs_its_row_alone(folder: Path, pictures: pa.StructArray) -> None:
    rows = pa.table({"image": pictures[:4], "level": [0, 100, -1, None]})
    control = {"unclip": {"noise_level": {"column": "level"}}}
    errors = (
        Generate(model=str(folder), prompt="a", steps=1, controls=[control]).load()(rows)[columns.ERROR].to_pylist()
    )
    codes = [None, "value_invalid", "value_invalid", "value_missing"]
    assert [error and error["code"] for error in errors] == codes
    assert errors[1]["message"] == "noise_level is 100, but this model has 0..99"


def test_models_that_do_not_fit_are_refused(folder: Path, diffusion_folder: Path) -> None:
    for spec in (Generate(model=str(folder)), Invert(model=str(folder))):
        with pytest.raises(ModelError, match="is told of a picture beside the text: it needs the control `unclip`"):
            spec.load()
    with pytest.raises(ModelError, match=r"has no .* in image_encoder/"):
        Generate(model=str(diffusion_folder), controls=["unclip"]).load()


@pytest.mark.parametrize(
    ("spec", "options"), [(DiffEdit, {}), (Pix2PixZero, {"start": "picture"})], ids=["diffedit", "pix2pix_zero"]
)
def test_steps_that_ask_the_network_without_controls_are_refused(spec: Any, options: dict[str, Any]) -> None:
    for control in ("unclip", "depth2img"):
        with pytest.raises(ValidationError, match="asks the network without controls"):
            spec(target_prompt="a", controls=[control], **options)


def test_half_precision_is_near(folder: Path, pictures: pa.StructArray) -> None:
    spec = Generate(model=str(folder), steps=2, seed=1, prompt="", controls=[{"unclip": {"noise_level": 30}}])
    half, table = spec.model_copy(update={"precision": Precision.BFLOAT16}), pa.table({"image": pictures[:1]})
    assert (floats(half, table) - floats(spec, table)).abs().mean() < 0.02
