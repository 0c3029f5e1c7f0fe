"""Regions: each the same as a picture of its own prompt where it is, and the same in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from pydantic import ValidationError

from operators import Column, Generate, columns
from operators.controls.panorama import Panorama
from operators.controls.regions import Region, Regions
from operators.controls.sag import Sag
from operators.controls.sega import Concept, Sega
from operators.edit.pix2pix_zero import Pix2PixZero
from operators.images import encode_all
from tests.operators.floats import apart_in_company, floats, reference

ONE_ROW = pa.table({"x": [0]})
WHOLE = (0.0, 0.0, 1.0, 1.0)
SEGA = Sega(concepts=(Concept(prompt="blue", warmup=0),))


def mask(left: int, right: int) -> Image.Image:
    picture = np.zeros((64, 64), np.uint8)
    picture[:, left:right] = 255
    return Image.fromarray(picture).convert("RGB")


@pytest.mark.parametrize("bootstrapping", [0, 3])
@pytest.mark.parametrize("guidance_scale", [1.0, 6.0])
def test_one_region_everywhere_is_its_prompts_picture(
    diffusion_folder: Path, guidance_scale: float, bootstrapping: int
) -> None:
    options: Any = {"negative_prompt": "green", "guidance_scale": guidance_scale}
    theirs = reference(
        StableDiffusionPipeline, diffusion_folder, None, 7, prompt="a star", num_inference_steps=4, **options
    )
    control = Regions(regions=(Region(prompt="a star", box=WHOLE),), bootstrapping=bootstrapping)
    plain = Generate(model=str(diffusion_folder), prompt="a red circle", steps=4, seed=7, **options)
    assert (floats(plain, ONE_ROW) - theirs).abs().max() > 2e-3
    ours = floats(plain.model_copy(update={"controls": (control,)}), ONE_ROW)
    assert (ours - theirs).abs().max() < 1e-4


def composed(
    folder: Path, prompts: list[str], masks: torch.Tensor, bootstrapping: int, steps: int, scale: float
) -> torch.Tensor:
    """The paper's loop at batch 1: every prompt takes its own step, and the mean of all that cover a latent goes on.

    Args:
        folder: of the model.
        prompts: the background's, and those of the regions.
        masks: of each.
        bootstrapping: steps in which regions see plain colours around them.
        steps: in all.
        scale: of guidance.
    """
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    generator = torch.Generator().manual_seed(7)
    latents = torch.randn(1, 4, 16, 16, generator=generator)
    noise = torch.randn(1, 4, 16, 16, generator=generator)
    colours = torch.rand(bootstrapping, len(prompts) - 1, 3, generator=generator)
    told, _ = pipeline.encode_prompt(prompts, "cpu", 1, False)
    nothing, _ = pipeline.encode_prompt("", "cpu", 1, False)
    pipeline.scheduler.set_timesteps(steps)
    for step, timestep in enumerate(pipeline.scheduler.timesteps):
        seen = latents.repeat(len(prompts), 1, 1, 1)
        if step < bootstrapping:
            plain = (colours[step] * 2 - 1)[..., None, None].expand(-1, -1, 32, 32)
            around = pipeline.vae.encode(plain).latent_dist.mean * pipeline.vae.config.scaling_factor
            around = pipeline.scheduler.add_noise(around[..., 4:5, 4:5].expand(-1, -1, 16, 16), noise, timestep[None])
            seen[1:] = masks[1:] * seen[1:] + (1 - masks[1:]) * around
        without = pipeline.unet(seen, timestep, nothing.expand(len(prompts), -1, -1)).sample
        answer = without + scale * (pipeline.unet(seen, timestep, told).sample - without)
        stepped = torch.cat(
            [
                pipeline.scheduler.step(one[None], timestep, own[None]).prev_sample
                for one, own in zip(answer, seen, strict=True)
            ]
        )
        latents = (stepped * masks).sum(0, True) / masks.sum(0, True)
    pictures = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    return (pictures / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("bootstrapping", [0, 2])
def test_overlapping_regions_are_the_papers_loop(diffusion_folder: Path, bootstrapping: int) -> None:
    prompts = ["a red circle", "a star", "a blue ring"]
    masks = torch.zeros(3, 1, 16, 16)
    masks[1, :, :, :8] = 1
    masks[2, :, 4:12, 4:14] = 1
    masks[0] = (masks.sum(0) == 0).float()
    with torch.no_grad():
        theirs = composed(diffusion_folder, prompts, masks, bootstrapping, 4, 6.0)
    regions = (Region(prompt=prompts[1], box=(0, 0, 0.5, 1)), Region(prompt=prompts[2], box=(0.25, 0.25, 0.875, 0.75)))
    spec = Generate(
        model=str(diffusion_folder),
        prompt=prompts[0],
        steps=4,
        seed=7,
        guidance_scale=6.0,
        controls=(Regions(regions=regions, bootstrapping=bootstrapping),),
    )
    assert (floats(spec, ONE_ROW) - theirs).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("folder", "scheduler"), [("diffusion_folder", "euler_ancestral"), ("sd2", None), ("sdxl", None)]
)
def test_a_row_with_its_own_regions_is_the_same_alone(
    folder: str, scheduler: str | None, request: pytest.FixtureRequest
) -> None:
    table = pa.table(
        {
            "prompt": ["a red circle", "a star", "a ring"],
            "first": ["a star", "", "a cross"],
            "box": ["0, 0, 0.5, 1", "0,0,1,1", ".25,.5,.75,.99"],
            "second": ["", "a ring", "a blue star"],
            "mask": encode_all([mask(0, 64), mask(20, 60), mask(32, 64)]),
            "bootstrapping": [1, 0, 3],
            columns.ROW_ID: list("abc"),
        }
    )
    regions = (
        Region(prompt=Column(column="first"), box=Column(column="box")),
        Region(prompt=Column(column="second"), mask="mask"),
    )
    control = Regions(regions=regions, bootstrapping=Column(column="bootstrapping"))
    model = str(request.getfixturevalue(folder))
    spec = Generate(model=model, steps=4, scheduler=scheduler, controls=(SEGA, control, Sag()))
    assert apart_in_company(spec, table) < 1e-4


def test_others_add_to_regions_in_any_order(diffusion_folder: Path) -> None:
    plain = Generate(model=str(diffusion_folder), steps=2, seed=7, prompt="a star", width=96)
    regions = Regions(regions=(Region(prompt="a ring", box=(0, 0, 0.5, 1)),), bootstrapping=1)
    made = [
        floats(plain.model_copy(update={"controls": controls}), ONE_ROW)
        for controls in [(regions, SEGA, Panorama()), (Panorama(), SEGA, regions), (regions, Panorama()), (SEGA,)]
    ]
    assert (made[0] - made[1]).abs().max() < 1e-5
    assert (made[0] - made[2]).abs().max() > 1e-4
    assert (made[0] - made[3]).abs().max() > 1e-4


def test_an_edit_has_regions_too(diffusion_folder: Path) -> None:
    control = Regions(regions=(Region(prompt="a ring", box=WHOLE),), bootstrapping=2)
    options: Any = {"model": str(diffusion_folder), "start": "noise", "from_": "circle", "to": "star", "steps": 3}
    table = pa.table({"caption": ["a red circle", "a blue circle"]})
    made = [Pix2PixZero(controls=controls, **options).load()(table) for controls in ((), (control,))]
    assert all(edited[columns.ERROR].null_count == 2 for edited in made)
    assert made[0]["edited_image"] != made[1]["edited_image"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Field required"),
        ({"regions": []}, "at least 1"),
        ({"regions": [{"prompt": "a"}]}, "by `box` or by `mask`"),
        ({"regions": [{"prompt": "a", "box": [0, 0, 1, 1], "mask": "m"}]}, "by `box` or by `mask`"),
        ({"regions": [{"prompt": "a", "box": [0.5, 0, 0.5, 1]}]}, "the box is empty"),
        ({"regions": [{"prompt": "a", "box": [0, 0, 64, 64]}]}, "less than or equal to 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Generate(controls=[{"regions": options}])


def test_a_bad_value_costs_its_row_alone(tiny_vae_folder: Path) -> None:
    regions = (
        Region(prompt=Column(column="one"), box=Column(column="box")),
        Region(prompt=Column(column="two"), mask="mask"),
    )
    spec = Generate(model=str(tiny_vae_folder), steps=1, controls=(Regions(regions=regions),))
    table = pa.table(
        {
            "prompt": list("abcdef"),
            "one": ["a", "a", "a", None, "a", "a"],
            "box": ["0,0,1,1", "0,0,2,1", "0,1", "0,0,1,1", "0,0,1,1", "0,0,1,1"],
            "two": ["", "a", "a", "a", "a", "a"],
            "mask": pa.concat_arrays(
                [pa.nulls(1, columns.IMAGE), encode_all([mask(0, 9)] * 3 + [mask(0, 0)]), pa.nulls(1, columns.IMAGE)]
            ),
        }
    )
    errors = spec.load()(table)[columns.ERROR].to_pylist()
    codes = ["value_invalid", "value_invalid", "value_missing", "mask_invalid", "image_missing"]
    assert [error and error["code"] for error in errors] == [None, *codes]
    assert errors[4]["message"] == "the mask of region 'a' is empty: nothing of it is brighter than half"
