"""Image variation: the same as diffusers' at batch 1, and the same in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from diffusers import StableDiffusionImageVariationPipeline
from pydantic import ValidationError

from operators import Column, DiffEdit, Generate, Img2Img, Pix2PixZero, columns
from operators.errors import ModelError
from operators.images import decode_all
from operators.models.loading import Precision
from tests.operators import edits, tiny_conditions
from tests.operators.floats import apart_in_company, floats, reference

NEAR, FAR = 1e-4, 5e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, diffusion_folder: Path) -> Path:
    return tiny_conditions.image_variation(tmp_path_factory.mktemp("models") / "variation", diffusion_folder)


@pytest.mark.parametrize("guidance_scale", [1.0, 6.0])
def test_it_is_diffusers(folder: Path, pictures: pa.StructArray, guidance_scale: float) -> None:
    given: dict[str, Any] = {"guidance_scale": guidance_scale, "width": 48, "height": 64}
    picture = decode_all(pictures[:1])[0]
    theirs = reference(
        StableDiffusionImageVariationPipeline, folder, None, 7, image=picture, num_inference_steps=5, **given
    )
    spec = Generate(model=str(folder), prompt="", steps=5, seed=7, controls=["image_prompt"], **given)
    ours = floats(spec, pa.table({"image": pictures[:1]}))
    assert (ours - theirs).abs().max() < NEAR
    assert (ours - floats(spec, pa.table({"image": pictures[3:4]}))).abs().max() > FAR


def test_a_row_with_its_own_picture_is_the_same_alone(folder: Path, pictures: pa.StructArray) -> None:
    table = pa.table(
        {
            "prompt": list("abc"),
            "picture": pictures[:3],
            "guidance_scale": [3.0, 9.0, 1.0],
            columns.ROW_ID: list("abc"),
        }
    )
    control = {"image_prompt": {"image": "picture"}}
    spec = Generate(model=str(folder), steps=3, guidance_scale=Column(column="guidance_scale"), controls=[control])
    assert apart_in_company(spec, table) < NEAR


def test_an_edit_is_told_by_a_picture_too(folder: Path, pictures: pa.StructArray) -> None:
    control = {"image_prompt": {"image": "style"}}
    spec = Img2Img(model=str(folder), target_prompt="", steps=4, strength=0.5, seed=1, controls=[control])
    [one] = edits.floats(spec, pa.table({"image": pictures[:1], "style": pictures[1:2]})).values()
    [other] = edits.floats(spec, pa.table({"image": pictures[:1], "style": pictures[2:3]})).values()
    assert (one - other).abs().max() > FAR


def test_words_are_told_as_left_out(folder: Path, pictures: pa.StructArray) -> None:
    spec = Generate(model=str(folder), steps=1, controls=["image_prompt"])
    made = spec.load()(pa.table({"image": pictures[:2], "prompt": ["a star", ""]}))
    assert made["generated_image_truncated"].to_pylist() == ["a star", None]


def test_a_bad_picture_costs_its_row_alone(folder: Path, pictures: pa.StructArray) -> None:
    rows = pa.table({"image": pa.array([{"bytes": b"", "path": None}, pictures[0].as_py()], columns.IMAGE)})
    spec = Generate(model=str(folder), prompt="", steps=1, controls=["image_prompt"])
    errors = spec.load()(rows)[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == ["image_empty", None]


def test_models_are_refused_that_take_text_or_are_not_told_anything(folder: Path, diffusion_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"has no .* in text_encoder/"):
        Generate(model=str(folder)).load()
    with pytest.raises(ModelError, match=r"has no .* in image_encoder/"):
        Generate(model=str(diffusion_folder), controls=["image_prompt"]).load()


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (Generate, {"controls": ["image_prompt", {"sega": {"concepts": [{"prompt": "a"}]}}]}, "there is no text"),
        (Generate, {"controls": ["image_prompt", "image_prompt"]}, "twice"),
        (Pix2PixZero, {"target_prompt": "a", "controls": ["image_prompt"]}, "no text whose attention could be held"),
        (DiffEdit, {"target_prompt": "a", "controls": ["image_prompt"]}, "asks the network without controls"),
    ],
)
def test_what_does_not_go_together_is_refused(spec: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**options)


def test_half_precision_is_near(folder: Path, pictures: pa.StructArray) -> None:
    spec = Generate(model=str(folder), steps=2, seed=1, prompt="", controls=["image_prompt"])
    half, table = spec.model_copy(update={"precision": Precision.BFLOAT16}), pa.table({"image": pictures[:1]})
    assert (floats(half, table) - floats(spec, table)).abs().mean() < 0.02
