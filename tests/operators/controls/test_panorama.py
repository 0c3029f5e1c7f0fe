"""Panoramas: the same as diffusers' at batch 1, the same in any company, and without a seam."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from diffusers import StableDiffusionPanoramaPipeline
from pydantic import ValidationError

from operators import Column, Generate, columns
from operators.controls.controlnet import ControlNet
from operators.controls.panorama import Panorama
from operators.controls.regions import Region, Regions
from operators.controls.sega import Concept, Sega
from operators.diffusion.denoising import Denoising
from operators.diffusion.family import load_family
from operators.diffusion.schedulers import Sampling
from operators.diffusion.windows import Windowed
from operators.models.loading import diffusion_files
from operators.models.ref import ModelRef
from tests.operators import tiny_conditions
from tests.operators.floats import apart_in_company, floats, reference

ONE_ROW = pa.table({"x": [0]})


class OfItsSize(StableDiffusionPanoramaPipeline):
    """diffusers takes every model's latents for 8 pixels and its windows for 64 latents."""

    def get_views(self, height: int, width: int, **given: Any) -> Any:
        return super().get_views(8 * height // 4, 8 * width // 4, window_size=16, stride=4, **given)


@pytest.mark.parametrize(
    ("circular", "width", "height", "guidance_scale"),
    [(False, 128, 80, 6.0), (False, 96, 64, 1.0), (True, 128, 64, 6.0)],
)
def test_it_is_diffusers(
    diffusion_folder: Path, circular: bool, width: int, height: int, guidance_scale: float
) -> None:
    given: dict[str, Any] = {"prompt": "a red circle", "negative_prompt": "green", "guidance_scale": guidance_scale}
    given |= {"width": width, "height": height}
    theirs = reference(OfItsSize, diffusion_folder, None, 7, num_inference_steps=4, circular_padding=circular, **given)
    plain = Generate(model=str(diffusion_folder), steps=4, seed=7, **given)
    ours = floats(plain.model_copy(update={"controls": (Panorama(stride=4, circular=circular),)}), ONE_ROW)
    assert (ours - theirs).abs().max() < 1e-4
    assert (ours - floats(plain, ONE_ROW)).abs().max() > 5e-3


def test_a_picture_of_the_models_own_size_is_seen_whole(diffusion_folder: Path) -> None:
    plain = Generate(model=str(diffusion_folder), steps=3, seed=7, prompt="a star")
    assert floats(plain.model_copy(update={"controls": (Panorama(),)}), ONE_ROW).equal(floats(plain, ONE_ROW))


@pytest.mark.parametrize(("folder", "circular"), [("diffusion_folder", False), ("sd2", True), ("sdxl", False)])
def test_a_row_of_its_own_size_is_the_same_alone(folder: str, circular: bool, request: pytest.FixtureRequest) -> None:
    table = pa.table(
        {
            "prompt": ["a red circle", "a star", "a ring", "a cross"],
            "width": [84, 84, 52, 84],
            "height": [64, 64, 108, 64],
            columns.ROW_ID: list("abcd"),
        }
    )
    controls = (Panorama(circular=circular, stride=8), Sega(concepts=(Concept(prompt="blue", warmup=0),)))
    size: Any = {"width": Column(column="width"), "height": Column(column="height")}
    spec = Generate(model=str(request.getfixturevalue(folder)), steps=3, controls=controls, **size)
    assert apart_in_company(spec, table) < 1e-4


@pytest.mark.parametrize("width", [32, 12])
def test_where_a_circle_is_cut_open_does_not_matter(diffusion_folder: Path, width: int) -> None:
    family = load_family(diffusion_files(ModelRef(str(diffusion_folder))), torch.device("cpu"))

    def made(noise: torch.Tensor) -> torch.Tensor:
        prompts = [family.encode_prompts(["", ""]), family.encode_prompts(["a star", "a ring"])]
        schedule = Sampling(family.scheduler, 3)
        denoising = Denoising(family, schedule, prompts, torch.tensor([3.0, 6.0]), [], guided=True)
        denoising.windowed = partial(Windowed, side=16, stride=4, circular=True)
        return denoising(schedule.noisy(noise))

    noise = torch.randn(2, 4, 16, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, turned = made(noise), made(noise.roll(4, -1))
        assert (whole.roll(4, -1) - turned).abs().max() < 1e-4
        assert (whole - turned).abs().max() > 0.1

        def torn() -> float:
            """How much the columns where the picture is cut open depend on it."""
            cut, uncut = family.decode(whole), family.decode(whole.roll(width // 2, -1)).roll(-width // 2 * 4, -1)
            return float((cut - uncut)[..., [0, 1, -2, -1]].abs().mean())

        plainly = torn()
        with family.decoding_around(8):
            assert torn() < plainly / 4


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValidationError, match="windows of 16 would leave gaps"):
        Panorama(window=16, stride=17)
    with pytest.raises(ValidationError, match="no attention map is of the whole picture"):
        Generate(controls=["panorama", {"attend_and_excite": {"words": ["a"]}}])


def test_pictures_that_steer_are_seen_in_windows_too(
    diffusion_folder: Path, tmp_path: Path, pictures: pa.StructArray
) -> None:
    net = str(tiny_conditions.controlnet(tmp_path / "net", diffusion_folder, 0))
    table = pa.table({"prompt": ["a", "a ring"], "image": pictures[:2], columns.ROW_ID: list("ab")})
    steering = ControlNet(model=net, image="image", guess_mode=True)
    region = Regions(regions=(Region(prompt="a star", box=(0, 0, 0.5, 1)),), bootstrapping=1)
    spec = Generate(model=str(diffusion_folder), steps=2, seed=7, width=96, controls=(steering, region, Panorama()))
    assert apart_in_company(spec, table) < 1e-4
    whole = spec.model_copy(update={"controls": (steering, region)})
    one_window = spec.model_copy(update={"controls": (steering, region, Panorama(window=24))})
    unsteered = spec.model_copy(update={"controls": (region, Panorama())})
    assert (floats(one_window, table) - floats(whole, table)).abs().max() < 1e-4
    assert (floats(unsteered, table) - floats(spec, table)).abs().max() > 1e-3
