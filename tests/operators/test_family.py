"""Stable Diffusion 1.x, 2.x and XL; what steps of one process share; what is encoded once."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from operators import Generate, columns
from operators.diffusion.family import StableDiffusion, load_family
from operators.images import decode
from operators.invert import Invert
from operators.models.loading import diffusion_files
from operators.models.ref import ModelRef
from tests.operators import tiny
from tests.operators.test_generate import floats

CPU = torch.device("cpu")


def reference(pipeline_class: Any, folder: Path, **given: Any) -> torch.Tensor:
    pipeline = pipeline_class.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        generator=torch.Generator().manual_seed(7), output_type="np", num_inference_steps=6, eta=0.0, **given
    ).images
    return torch.from_numpy(made).permute(0, 3, 1, 2)


@pytest.mark.parametrize("negative_prompt", ["", "blue"])
@pytest.mark.parametrize("guidance_scale", [1.0, 6.0])
@pytest.mark.parametrize("name", ["sd2", "sdxl"])
def test_pictures_are_diffusers(
    name: str, negative_prompt: str, guidance_scale: float, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(name)
    pipeline = {"sd2": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}[name]
    given = {"prompt": "a red circle", "guidance_scale": guidance_scale, "width": 48, "height": 64}
    theirs = reference(pipeline, folder, negative_prompt=negative_prompt or None, **given)
    ours = floats(
        Generate(model=str(folder), steps=6, seed=7, negative_prompt=negative_prompt, **given),
        pa.table({"x": [0]}),
    )
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
@pytest.mark.parametrize("name", ["sd2", "sdxl"])
def test_pictures_are_inverted_and_made_again(
    name: str, guidance_scale: float, pictures: pa.StructArray, request: pytest.FixtureRequest
) -> None:
    table = pa.table({"image": pictures[:2], "caption": ["a red circle", "a star"]})
    spec = Invert(
        model=str(request.getfixturevalue(name)),
        steps=8,
        guidance_scale=guidance_scale,
        method="exact",
        tolerance=1e-5,
        max_iterations=30,
    )
    operator = spec.load()
    assert operator(table)[columns.ERROR].null_count == 2
    rows = operator.prepare(table, [0, 1])
    with torch.no_grad():
        clean, noise = operator.inverted(rows)  # type: ignore[attr-defined]
        psnr = operator._psnr(rows, clean, noise)  # type: ignore[attr-defined]
    assert psnr.min() > 60


def test_steps_of_one_process_share_a_model(tiny_vae_folder: Path, diffusion_folder: Path) -> None:
    first, second = Generate(model=str(tiny_vae_folder)).load(), Invert(model=str(tiny_vae_folder)).load()
    other = Invert(model=str(diffusion_folder)).load()
    halved = Invert(model=str(tiny_vae_folder), precision="bfloat16").load()
    family = first._family  # type: ignore[attr-defined]
    assert second._family is family  # type: ignore[attr-defined]
    assert other._family is not family  # type: ignore[attr-defined]
    assert halved._family is not family  # type: ignore[attr-defined]
    left = weakref.ref(family)
    del family, first
    gc.collect()
    assert left() is not None
    del second
    gc.collect()
    assert left() is None


@pytest.fixture
def family(tmp_path: Path) -> StableDiffusion:
    folder = tiny.stable_diffusion(tmp_path / "fresh", tiny.autoencoder_tiny())
    return load_family(diffusion_files(ModelRef(str(folder))), CPU)


def test_a_text_is_encoded_once(family: StableDiffusion) -> None:
    rows: list[int] = []

    def count(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Any) -> None:
        rows.append(len(args[0]) if args else len(kwargs["input_ids"]))

    family.text_encoders[0][1].register_forward_hook(count, with_kwargs=True)
    with torch.no_grad():
        first = family.encode_prompts(["a", "b", "a", "", "b"])
        again = family.encode_prompts(["b", "a", "c"])
        sentences = ("a red circle", "a blue circle")
        means = family.encode_means([sentences, ("a",), sentences])
        family.encode_means([sentences])
        alone = family.encode_prompts(["a red circle"]), family.encode_prompts(["a blue circle"])
    assert sum(rows) == 3 + 1 + 3 + 1 + 1
    assert torch.equal(first.hidden[0], first.hidden[2])
    assert not torch.equal(first.hidden[0], first.hidden[1])
    assert torch.equal(again.hidden[:2], first.hidden[[1, 0]])
    torch.testing.assert_close(means.hidden[0], (alone[0].hidden + alone[1].hidden)[0] / 2)
    assert torch.equal(means.hidden[0], means.hidden[2])
    torch.testing.assert_close(means.hidden[1], first.hidden[0])


def test_what_is_left_out_of_a_text_is_told(family: StableDiffusion) -> None:
    long = "a red circle " * 20
    left_out = family.truncated([("a circle", ""), ("a circle", long)])
    assert left_out[0] is None
    assert left_out[1] is not None
    assert left_out[1].endswith("a red circle")
    assert len(left_out[1]) < len(long)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("c++") is None, reason="compiling needs a C++ compiler")
def test_a_compiled_network_makes_the_same_picture(tiny_vae_folder: Path) -> None:
    table = pa.table({"prompt": ["a red circle"]})
    made = [
        Generate(model=str(tiny_vae_folder), steps=2).load(compiled=compiled)(table)["generated_image"]
        for compiled in (False, True)
    ]
    plain, compiled = (np.asarray(decode(column[0].as_py())).astype(int) for column in made)
    assert np.abs(plain - compiled).max() <= 1
