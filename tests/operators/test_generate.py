"""Pictures from text: the same as diffusers', and the same in any company."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image
from pydantic import ValidationError

from operators import Column, Generate, columns
from operators.images import Encoding, decode_all
from tests.operators.floats import Floats, floats, reference

SCHEDULERS = ["ddim", "euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "pndm", "heun", "ddpm", "unipc", "lcm"]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_text_to_image_is_diffusers(diffusion_folder: Path, scheduler: str) -> None:
    given = {"prompt": "a red circle", "negative_prompt": "blue", "guidance_scale": 6.0, "width": 48, "height": 64}
    theirs = reference(StableDiffusionPipeline, diffusion_folder, scheduler, 7, num_inference_steps=6, **given)
    spec = Generate(model=str(diffusion_folder), scheduler=scheduler, steps=6, seed=7, **given)
    ours = floats(spec, pa.table({"prompt": ["unused"]}))
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("guidance_scale", [0.5, 1.0])
def test_without_guidance_is_diffusers(tiny_vae_folder: Path, guidance_scale: float) -> None:
    given = {"prompt": "a red circle", "guidance_scale": guidance_scale}
    theirs = reference(StableDiffusionPipeline, tiny_vae_folder, None, 7, num_inference_steps=4, **given)
    spec = Generate(model=str(tiny_vae_folder), steps=4, seed=7, **given)
    assert (floats(spec, pa.table({"x": [0]})) - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("folder", ["diffusion_folder", "tiny_vae_folder"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_image_to_image_is_diffusers(
    folder: str, scheduler: str, pictures: pa.StructArray, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(folder)
    given = {"prompt": "a red circle", "guidance_scale": 6.0, "strength": 0.55}
    picture = decode_all(pictures[:1])[0]
    theirs = reference(
        StableDiffusionImg2ImgPipeline, model, scheduler, 7, num_inference_steps=9, image=picture, **given
    )
    spec = Generate(model=str(model), scheduler=scheduler, steps=9, seed=7, image="image", **given)
    assert (floats(spec, pa.table({"image": pictures[:1]})) - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("scheduler", [None, "euler_ancestral", "dpmpp_2m_sde"])
@pytest.mark.parametrize("image", [None, "image"])
def test_a_row_is_the_same_alone(
    diffusion_folder: Path, scheduler: str | None, image: str | None, pictures: pa.StructArray
) -> None:
    table = pa.table(
        {
            "prompt": ["a red circle", "a star", "", "a very long text about a cross", "a ring"],
            "negative_prompt": ["", "blue", "a circle", "", "red"],
            "guidance_scale": [7.5, 4.0, 3.0, 12.0, 0.0],
            "steps": [4, 4, 4, 4, 5],
            "width": [64, 64, 64, 48, 64],
            "height": [64, 64, 64, 64, 68],
            "image": pictures[:5],
            columns.ROW_ID: list("abcde"),
        }
    )
    names = ["negative_prompt", "guidance_scale", "steps", "width", "height"]
    options: Any = {name: Column(column=name) for name in names} | {"strength": image and 0.6, "image": image}
    operator = Floats(Generate(model=str(diffusion_folder), scheduler=scheduler, **options))
    together = operator.floats(table)
    for row in range(5):
        [(prompt, alone)] = operator.floats(table.slice(row, 1)).items()
        assert alone.shape == (3, table["height"][row].as_py(), table["width"][row].as_py())
        assert (alone - together[prompt]).abs().max() < 1e-4
    assert len({float(picture.mean()) for picture in together.values()}) == 5


def test_a_table_of_prompts_becomes_pictures(tiny_vae_folder: Path) -> None:
    table = pa.table({"prompt": ["a red circle", "a star"]})
    result = Generate(model=str(tiny_vae_folder), steps=2).load()(table)
    assert result.schema.field("generated_image").type == columns.IMAGE
    assert [picture.size for picture in decode_all(result["generated_image"])] == [(64, 64)] * 2
    again = Generate(model=str(tiny_vae_folder), steps=2).load()(table)
    assert again.equals(result)


def test_rows_have_pictures_of_their_own_ids_and_seeds(tiny_vae_folder: Path) -> None:
    options: Any = {"model": str(tiny_vae_folder), "steps": 2, "prompt": "a star", "seed": Column(column="seed")}
    table = pa.table({"seed": [10, 20]})
    result = Generate(images_per_row=3, **options).load()(table)
    assert result[columns.ROW_ID].to_pylist() == [f"{row}/generate.{k}" for row in (0, 1) for k in range(3)]
    made = [np.asarray(picture, np.int16) for picture in decode_all(result["generated_image"])]
    counted = Generate(**options).load()(pa.table({"seed": [10, 11, 12, 20, 21, 22]}))
    for ours, theirs in zip(made, decode_all(counted["generated_image"]), strict=True):
        assert abs(ours - np.asarray(theirs, np.int16)).max() <= 1
    unseeded = Generate(**(options | {"seed": None}), images_per_row=3).load()(table)
    assert len({picture["bytes"] for picture in unseeded["generated_image"].to_pylist()}) == 6


@pytest.mark.parametrize("encoding", Encoding)
def test_pictures_are_written_in_the_format_asked_for(tiny_vae_folder: Path, encoding: Encoding) -> None:
    spec = Generate(model=str(tiny_vae_folder), steps=1, format=encoding, quality=80, output="made")
    [picture] = spec.load()(pa.table({"prompt": ["a"]}))["made"].to_pylist()
    assert Image.open(io.BytesIO(picture["bytes"])).format == encoding.name


@pytest.mark.parametrize(
    ("column", "value", "code", "message"),
    [
        ("prompt", None, "value_missing", "prompt is null"),
        ("width", 66, "value_invalid", "width is 66, but must be a multiple of 4"),
        ("height", 0, "value_invalid", "height is 0"),
        ("height", 8196, "value_invalid", "height is 8196, but must be a multiple of 4 in 4..8192"),
        ("steps", 0, "value_invalid", "steps is 0, but must be in 1..1000"),
        ("steps", 1001, "value_invalid", "steps is 1001"),
        ("strength", 1.5, "value_invalid", "strength is 1.5"),
        ("strength", 0.0, "value_invalid", "strength is 0.0"),
        ("strength", float("nan"), "value_invalid", "strength is nan"),
        ("guidance_scale", float("inf"), "value_invalid", "guidance_scale is inf"),
        ("guidance_scale", None, "value_missing", "guidance_scale is null"),
        ("seed", None, "value_missing", "seed is null"),
        ("image", None, "image_missing", "the picture is null"),
    ],
)
def test_a_bad_value_costs_its_row_alone(
    tiny_vae_folder: Path, pictures: pa.StructArray, column: str, value: Any, code: str, message: str
) -> None:
    good = {"prompt": "a", "width": 64, "height": 64, "steps": 2, "strength": 1.0, "guidance_scale": 3.0, "seed": 1}
    rows = [good | {"image": picture} for picture in pictures[:3].to_pylist()]
    rows[1] |= {column: value}
    names = [name for name in good if name != "prompt"]
    options: Any = {name: Column(column=name) for name in names}
    table = pa.Table.from_pylist(rows).cast(pa.Table.from_pylist(rows[:1]).schema)
    result = Generate(model=str(tiny_vae_folder), image="image", **options).load()(table)
    errors = result[columns.ERROR].to_pylist()
    assert errors[0] is errors[2] is None
    assert errors[1]["code"] == code
    assert errors[1]["message"].startswith(message)
    assert result["generated_image"].is_null().to_pylist() == [False, True, False]


def test_a_row_that_is_not_finite_is_rejected_alone(tiny_vae_folder: Path) -> None:
    table = pa.table({"prompt": ["a", "b", "c"], "guidance_scale": [3.0, 1e38, 3.0]})
    spec = Generate(model=str(tiny_vae_folder), guidance_scale=Column(column="guidance_scale"), steps=3, seed=1)
    result = spec.load()(table)
    assert [error and error["code"] for error in result[columns.ERROR].to_pylist()] == [None, "not_finite", None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0.5}, "needs `image`"),
        ({"scheduler": "eular"}, "did you mean 'euler'"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"images_per_row": 0}, "greater than or equal to 1"),
        ({"image": "image", "strength": 0.0}, "greater than 0"),
        ({"guidance_scale": float("nan")}, "finite"),
        ({"format": "gif"}, "'png', 'jpeg' or 'webp'"),
        ({"model": "builtin:nothing"}, "no built-in model"),
        ({"promt": "a"}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Generate(**options)


def test_what_the_text_encoder_leaves_out_is_told(diffusion_folder: Path) -> None:
    long = "a red circle " * 20
    made = Generate(model=str(diffusion_folder), steps=1).load()(pa.table({"prompt": ["a red circle", long]}))
    whole, cut = made["generated_image_truncated"].to_pylist()
    assert whole is None
    assert long.endswith(cut + " ")
    assert len(cut) < len(long) - 60
