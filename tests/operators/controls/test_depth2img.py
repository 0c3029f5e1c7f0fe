"""Depth to image: the same as diffusers' at batch 1, and the same in any company."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from diffusers import StableDiffusionDepth2ImgPipeline
from pydantic import ValidationError

from operators import Column, Generate, columns
from operators.edit.img2img import Img2Img
from operators.edit.pix2pix_zero import Pix2PixZero
from operators.errors import ModelError
from operators.images import decode_all
from operators.models.depth import between
from operators.models.loading import Precision
from tests.operators import edits, tiny_conditions
from tests.operators.floats import apart_in_company, floats

NEAR, FAR = 1e-4, 5e-3
GIVEN: dict[str, Any] = {"negative_prompt": "blue", "guidance_scale": 6.0, "strength": 0.6}


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_conditions.depth_model(tmp_path_factory.mktemp("models") / "dpt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sd2: Path, depth_folder: Path) -> Path:
    return tiny_conditions.depth2img(tmp_path_factory.mktemp("models") / "depth", sd2, depth_folder)


def reference(folder: Path, **given: Any) -> torch.Tensor:
    pipeline = StableDiffusionDepth2ImgPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(generator=torch.Generator().manual_seed(7), output_type="np", num_inference_steps=8, **given)
    return torch.from_numpy(made.images).permute(0, 3, 1, 2)


@pytest.mark.parametrize("depth", ["own", "another", "given"])
def test_it_is_diffusers(folder: Path, depth_folder: Path, pictures: pa.StructArray, depth: str) -> None:
    picture: Any = decode_all(pictures[:1])[0]
    grey = np.asarray(decode_all(pictures[1:2])[0].convert("L"), np.float32)  # type: ignore[union-attr]
    given = {"depth_map": torch.from_numpy(grey)[None]} if depth == "given" else {}
    theirs = reference(folder, prompt="a red circle", image=picture, **given, **GIVEN)
    options = {"own": {}, "another": {"depth_model": str(depth_folder)}, "given": {"depth": "depth"}}[depth]
    control = {"depth2img": options}
    table = pa.table({"image": pictures[:1], "depth": pictures[1:2]})
    spec: dict[str, Any] = {"model": str(folder), "steps": 8, "seed": 7, "controls": [control]}
    generated = floats(Generate(prompt="a red circle", image="image", **spec, **GIVEN), table)
    assert (generated - theirs).abs().max() < NEAR
    [edited] = edits.floats(Img2Img(target_prompt="a red circle", **spec, **GIVEN), table).values()
    assert (edited - theirs[0]).abs().max() < NEAR
    flat = Generate(prompt="a red circle", image="image", **spec | {"controls": [{"depth2img": {"depth": "flat"}}]})
    white = pa.array([{"bytes": _flat_picture(), "path": None}], columns.IMAGE)
    without = floats(flat.model_copy(update=GIVEN), table.append_column("flat", white))
    assert (generated - without).abs().max() > FAR


def _flat_picture() -> bytes:
    from PIL import Image

    from operators.images import encode

    return encode(Image.new("RGB", (64, 64), "white"))


@pytest.mark.parametrize("depth", [None, "depth"])
def test_a_row_with_its_own_depth_is_the_same_alone(folder: Path, pictures: pa.StructArray, depth: str | None) -> None:
    table = pa.table(
        {
            "prompt": ["a red circle", "a star", "a ring", "a cross"],
            "image": pictures[:4],
            "depth": pictures[2:6],
            "width": [64, 64, 64, 48],
            columns.ROW_ID: list("abcd"),
        }
    )
    spec = Generate(
        model=str(folder), steps=3, width=Column(column="width"), controls=[{"depth2img": {"depth": depth}}]
    )
    assert apart_in_company(spec, table) < NEAR


def test_reference_and_edit_of_pix2pix_zero_are_shown_the_same_depth(folder: Path, pictures: pa.StructArray) -> None:
    spec = Pix2PixZero(
        model=str(folder), start="noise", steps=2, target_prompt="a star", prompt="a ring", controls=["depth2img"]
    )
    [made] = edits.floats(spec, pa.table({"image": pictures[:1]})).values()
    [other] = edits.floats(spec, pa.table({"image": pictures[1:2]})).values()
    assert (made - other).abs().max() > FAR


def test_a_map_that_is_the_same_everywhere_is_far_away() -> None:
    maps = torch.stack([torch.full((4, 4), 3.0), torch.arange(16.0).view(4, 4)])
    assert torch.equal(between(maps, -1, 1)[0], torch.full((4, 4), -1.0))
    assert between(maps, -1, 1)[1].flatten()[[0, 15]].tolist() == [-1, 1]


def test_a_bad_picture_costs_its_row_alone(folder: Path, pictures: pa.StructArray) -> None:
    rows = pa.table({"prompt": ["a", "b"], "image": pa.array([None, *pictures[:1].to_pylist()], columns.IMAGE)})
    errors = Generate(model=str(folder), steps=1, controls=["depth2img"]).load()(rows)[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == ["image_missing", None]


def test_models_that_do_not_fit_are_refused(folder: Path, diffusion_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"takes 5 channels of latents; this step gives 4"):
        Generate(model=str(folder)).load()
    with pytest.raises(ModelError, match=r"takes 4 channels of latents; this step gives 5"):
        Generate(model=str(diffusion_folder), controls=[{"depth2img": {"depth": "depth"}}]).load()
    bare = shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("depth_estimator"))
    with pytest.raises(ModelError, match=r"has no .* in depth_estimator/"):
        Generate(model=str(bare), controls=["depth2img"]).stage()
    with pytest.raises(ModelError, match="is a CLIPTextModel, which does not estimate depth"):
        Generate(model=str(folder), controls=[{"depth2img": {"depth_model": str(folder / "text_encoder")}}]).load()


def test_depth_is_given_or_estimated() -> None:
    with pytest.raises(ValidationError, match="give one or the other"):
        Generate(controls=[{"depth2img": {"depth": "depth", "depth_model": "a/b"}}])


def test_half_precision_is_near(folder: Path, pictures: pa.StructArray) -> None:
    spec = Generate(model=str(folder), steps=2, seed=1, prompt="", controls=["depth2img"])
    half, table = spec.model_copy(update={"precision": Precision.BFLOAT16}), pa.table({"image": pictures[:1]})
    assert (floats(half, table) - floats(spec, table)).abs().mean() < 0.02
