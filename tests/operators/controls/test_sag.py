"""Self-attention guidance: the same as diffusers' at batch 1, and the same in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from diffusers import StableDiffusionSAGPipeline
from pydantic import ValidationError

from operators import Column, Generate, columns
from operators.controls.sag import Sag
from operators.controls.sega import Concept, Sega
from operators.diffusion.attention import is_cross, readable
from operators.diffusion.ddim import Ddim
from operators.diffusion.denoising import Denoising
from operators.diffusion.family import load_family
from operators.diffusion.schedulers import Sampling
from operators.models.loading import diffusion_files
from operators.models.ref import ModelRef
from tests.operators.floats import Floats, apart_in_company, floats, reference

ONE_ROW = pa.table({"x": [0]})
SEGA = Sega(concepts=(Concept(prompt="blue", warmup=0, guidance_scale=50.0),))


@pytest.mark.parametrize("guidance_scale", [1.0, 6.0])
@pytest.mark.parametrize("scheduler", [None, "dpmpp_2m"])
def test_it_is_diffusers(diffusion_folder: Path, scheduler: str | None, guidance_scale: float) -> None:
    given: dict[str, Any] = {"prompt": "a red circle", "negative_prompt": "green", "guidance_scale": guidance_scale}
    given |= {"width": 48, "height": 72}
    theirs = reference(
        StableDiffusionSAGPipeline, diffusion_folder, scheduler, 7, num_inference_steps=6, sag_scale=3.0, **given
    )
    plain = Generate(model=str(diffusion_folder), steps=6, seed=7, scheduler=scheduler, **given)
    ours = floats(plain.model_copy(update={"controls": (Sag(scale=3.0),)}), ONE_ROW)
    assert (ours - theirs).abs().max() < 1e-4
    assert (ours - floats(plain, ONE_ROW)).abs().max() > 5e-3


def test_samplers_that_scale_latents_are_guided_as_others_are(diffusion_folder: Path) -> None:
    """Euler's method over noise levels is DDIM, where both end without noise."""
    spec = Generate(model=str(diffusion_folder), steps=6, seed=7, prompt="a star", controls=(Sag(scale=3.0),))
    made = []
    for scheduler in ("euler", "ddim"):
        operator = Floats(spec.model_copy(update={"scheduler": scheduler}))
        operator._scheduler = operator._scheduler.from_config(operator._scheduler.config, set_alpha_to_one=True)
        made += operator.floats(ONE_ROW).values()
    assert (made[0] - made[1]).abs().max() < 1e-4


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_it_does_not_matter_what_the_network_predicts(
    diffusion_folder: Path, prediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Generate(model=str(diffusion_folder), steps=6, seed=7, prompt="a star", controls=(Sag(scale=3.0),))
    operator = Floats(spec)
    [expected] = operator.floats(ONE_ROW).values()
    unet = operator._family.unet
    predict_noise = unet.forward

    def forward(latents: torch.Tensor, timestep: torch.Tensor, **told: Any) -> tuple[torch.Tensor]:
        [noise] = predict_noise(latents, timestep, **told)
        kept = operator._scheduler.alphas_cumprod[timestep]
        clean = (latents - (1 - kept).sqrt() * noise) / kept.sqrt()
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
        return (velocity if prediction == "v_prediction" else clean,)

    monkeypatch.setattr(unet, "forward", forward)
    operator._scheduler = operator._scheduler.from_config(operator._scheduler.config, prediction_type=prediction)
    [made] = operator.floats(ONE_ROW).values()
    assert (made - expected).abs().max() < 1e-4


@pytest.mark.parametrize("folder", ["diffusion_folder", "sd2"])
def test_ddim_in_closed_form_is_guided_as_diffusers_is(folder: str, request: pytest.FixtureRequest) -> None:
    family = load_family(diffusion_files(ModelRef(str(request.getfixturevalue(folder)))), torch.device("cpu"))
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    control = Sag(scale=3.0).load(family, allow_pickle=False)
    made = []
    for schedule in (Sampling(family.scheduler, 4), Ddim(family.scheduler, 4).sampling()):
        prompts = [family.encode_prompts([text]) for text in ("", "a star")]
        denoising = Denoising(family, schedule, prompts, torch.tensor([6.0]), [], guided=True)
        with torch.no_grad(), control.installed({}):
            control.join(denoising, [{"scale": 3.0}])
            made.append(denoising(noise))
    assert (made[0] - made[1]).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("folder", "scheduler"),
    [("diffusion_folder", None), ("diffusion_folder", "euler_ancestral"), ("sd2", None), ("sdxl", None)],
)
def test_a_row_with_its_own_scale_is_the_same_alone(
    folder: str, scheduler: str | None, request: pytest.FixtureRequest
) -> None:
    table = pa.table(
        {
            "prompt": ["a red circle", "a star", "a ring"],
            "scale": [0.0, 1.0, 4.0],
            "guidance_scale": [5.0, 3.0, 1.0],
            columns.ROW_ID: list("abc"),
        }
    )
    model = str(request.getfixturevalue(folder))
    options: Any = {"guidance_scale": Column(column="guidance_scale"), "steps": 4, "scheduler": scheduler}
    sag = Sag(scale=Column(column="scale"))
    assert apart_in_company(Generate(model=model, controls=(SEGA, sag), **options), table) < 1e-4


@pytest.mark.parametrize("guidance_scale", [1.0, 6.0])
def test_it_adds_to_what_others_do(diffusion_folder: Path, guidance_scale: float) -> None:
    plain = Generate(model=str(diffusion_folder), steps=1, seed=7, prompt="a star", guidance_scale=guidance_scale)
    sag = Sag(scale=3.0)
    made = [
        floats(plain.model_copy(update={"controls": controls}), ONE_ROW)
        for controls in [(sag, SEGA), (SEGA, sag), (SEGA,), (sag,)]
    ]
    assert (made[0] - made[1]).abs().max() < 1e-5
    assert (made[0] - made[2]).abs().max() > 1e-3
    assert (made[0] - made[3]).abs().max() > 1e-3


def test_readers_within_readers_see_the_same_and_leave_no_trace(diffusion_folder: Path) -> None:
    family = load_family(diffusion_files(ModelRef(str(diffusion_folder))), torch.device("cpu"))
    predict = family.predictor(family.encode_prompts(["a circle"]))
    latents, timestep = torch.randn(1, 1, 4, 16, 16), torch.tensor(500)
    before = dict(family.unet.attn_processors)
    with (
        torch.no_grad(),
        readable(family.unet) as crossing,
        readable(family.unet, lambda _: True) as every,
        every.maps() as all_maps,
    ):
        predict(latents, timestep)
        with crossing.maps() as maps:
            predict(latents, timestep)
    assert set(all_maps) == set(before)
    assert set(maps) == set(filter(is_cross, before))
    assert all(all_maps[name] is seen for name, seen in maps.items())
    for name, seen in all_maps.items():
        assert is_cross(name) or seen.shape[-1] == seen.shape[-2]
        assert (seen.sum(-1) - 1).abs().max() < 1e-5
    assert dict(family.unet.attn_processors) == before


def test_wrong_use_is_refused_or_costs_its_row_alone(tiny_vae_folder: Path) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Sag(scale=-1)
    with pytest.raises(ValidationError, match="no attention map is of the whole picture"):
        Generate(controls=["sag", "panorama"])
    spec = Generate(model=str(tiny_vae_folder), steps=1, controls=(Sag(scale=Column(column="scale")),))
    result = spec.load()(pa.table({"prompt": ["a", "b", "c"], "scale": [0.5, -1.5, None]}))
    errors = result[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == [None, "value_invalid", "value_missing"]
