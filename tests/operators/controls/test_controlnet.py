"""ControlNet: the same as diffusers' at batch 1, alone or several, and the same in any company."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from diffusers import (
    ControlNetModel,
    MultiControlNetModel,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
)
from pydantic import ValidationError

from operators import Column, Generate, columns
from operators.controls.controlnet import ControlNet
from operators.diffusion.predictor import Window
from operators.diffusion.residuals import ControlNetResiduals
from operators.diffusion.strengths import Clock, Strengths
from operators.edit.img2img import Img2Img
from operators.edit.inpaint import Inpaint
from operators.edit.pix2pix_zero import Pix2PixZero
from operators.errors import ModelError
from operators.images import decode_all, encode_all
from operators.models.loading import Precision
from tests.operators import edits, tiny_conditions
from tests.operators.floats import apart_in_company, floats
from tests.operators.floats import reference as plain_reference

NEAR, FAR = 1e-4, 5e-3
MODELS = ["diffusion_folder", "sd2", "sdxl"]
GIVEN: dict[str, Any] = {"prompt": "a red circle", "negative_prompt": "blue", "guidance_scale": 6.0}


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("controlnets")
    return {
        model: [
            tiny_conditions.controlnet(folder / f"{model}-{k}", request.getfixturevalue(model), k) for k in range(2)
        ]
        for model in MODELS
    }


@pytest.fixture(scope="module")
def guessing(tmp_path_factory: pytest.TempPathFactory, diffusion_folder: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("controlnets")
    other = tiny_conditions.controlnet(folder / "bgr", diffusion_folder, 3, controlnet_conditioning_channel_order="bgr")
    pooled = ControlNetModel.from_pretrained(other, global_pool_conditions=True)
    pooled.save_pretrained(folder / "pooled")
    return {"bgr": other, "pooled": folder / "pooled"}


def reference(pipeline_class: Any, folder: Path, nets: list[Path], scheduler: str | None = None, **given: Any) -> Any:
    loaded = [ControlNetModel.from_pretrained(net) for net in nets]
    whole = loaded[0] if len(loaded) == 1 else MultiControlNetModel(loaded)

    class WithNets:
        @staticmethod
        def from_pretrained(folder: Path, **options: Any) -> Any:
            return pipeline_class.from_pretrained(folder, controlnet=whole, **options)

    return plain_reference(WithNets, folder, scheduler, 7, **given)


def control(net: Path, **options: Any) -> ControlNet:
    return ControlNet(model=str(net), **options)


def table(pictures: pa.StructArray, rows: int = 1) -> pa.Table:
    return pa.table({"condition_image": pictures[:rows], "image": pictures[1 : rows + 1]})


@pytest.mark.parametrize(
    ("model", "scheduler"),
    [*((model, None) for model in MODELS), ("diffusion_folder", "heun"), ("sdxl", "euler_ancestral")],
)
def test_one_is_diffusers(
    model: str, scheduler: str | None, nets: dict[str, list[Path]], pictures: pa.StructArray, request: Any
) -> None:
    folder = request.getfixturevalue(model)
    theirs = reference(
        StableDiffusionXLControlNetPipeline if model == "sdxl" else StableDiffusionControlNetPipeline,
        folder,
        nets[model][:1],
        scheduler,
        image=decode_all(pictures[:1])[0],
        num_inference_steps=6,
        controlnet_conditioning_scale=0.7,
        control_guidance_start=0.2,
        control_guidance_end=0.7,
        **GIVEN,
    )
    plain = Generate(model=str(folder), scheduler=scheduler, steps=6, seed=7, **GIVEN)
    steered = plain.model_copy(update={"controls": (control(nets[model][0], scale=0.7, start=0.2, end=0.7),)})
    ours = floats(steered, table(pictures))
    assert (ours - theirs).abs().max() < NEAR
    assert (ours - floats(plain, table(pictures))).abs().max() > FAR


@pytest.mark.parametrize("model", ["diffusion_folder", "sdxl"])
def test_two_are_diffusers(model: str, nets: dict[str, list[Path]], pictures: pa.StructArray, request: Any) -> None:
    folder = request.getfixturevalue(model)
    theirs = reference(
        StableDiffusionXLControlNetPipeline if model == "sdxl" else StableDiffusionControlNetPipeline,
        folder,
        nets[model],
        image=decode_all(pictures[:2]),
        num_inference_steps=5,
        controlnet_conditioning_scale=[0.5, 1.2],
        control_guidance_start=[0.0, 0.3],
        control_guidance_end=[0.6, 1.0],
        **GIVEN,
    )
    first = control(nets[model][0], scale=0.5, end=0.6)
    second = control(nets[model][1], scale=1.2, start=0.3, image="image")
    plain = Generate(model=str(folder), steps=5, seed=7, **GIVEN)
    ours = floats(plain.model_copy(update={"controls": (first, second)}), table(pictures))
    assert (ours - theirs).abs().max() < NEAR
    for one in (first, second):
        alone = floats(plain.model_copy(update={"controls": (one,)}), table(pictures))
        assert (ours - alone).abs().max() > FAR


@pytest.mark.parametrize(
    ("net", "guess", "guidance_scale"),
    [("bgr", False, 6.0), ("bgr", True, 6.0), ("bgr", True, 1.0), ("pooled", False, 6.0)],
)
def test_guessing_pooling_and_channel_orders_are_diffusers(
    diffusion_folder: Path,
    guessing: dict[str, Path],
    pictures: pa.StructArray,
    net: str,
    guess: bool,
    guidance_scale: float,
) -> None:
    given = GIVEN | {"guidance_scale": guidance_scale}
    theirs = reference(
        StableDiffusionControlNetPipeline,
        diffusion_folder,
        [guessing[net]],
        image=decode_all(pictures[:1])[0],
        num_inference_steps=3,
        guess_mode=guess,
        **given,
    )
    spec = Generate(
        model=str(diffusion_folder), steps=3, seed=7, controls=[control(guessing[net], guess_mode=guess)], **given
    )
    assert (floats(spec, table(pictures)) - theirs).abs().max() < NEAR


def test_image_to_image_is_diffusers(
    diffusion_folder: Path, nets: dict[str, list[Path]], pictures: pa.StructArray
) -> None:
    given: dict[str, Any] = {"negative_prompt": "blue", "guidance_scale": 6.0, "strength": 0.55}
    net = nets["diffusion_folder"][0]
    theirs = reference(
        StableDiffusionControlNetImg2ImgPipeline,
        diffusion_folder,
        [net],
        prompt="a red circle",
        image=decode_all(pictures[1:2])[0],
        control_image=decode_all(pictures[:1])[0],
        controlnet_conditioning_scale=1.0,
        control_guidance_end=0.5,
        num_inference_steps=9,
        **given,
    )
    options: dict[str, Any] = {
        "model": str(diffusion_folder),
        "steps": 9,
        "seed": 7,
        "controls": [control(net, end=0.5)],
    }
    [edited] = edits.floats(Img2Img(target_prompt="a red circle", **options, **given), table(pictures)).values()
    assert (edited - theirs[0]).abs().max() < NEAR
    generated = floats(Generate(prompt="a red circle", image="image", **options, **given), table(pictures))
    assert (generated - theirs).abs().max() < NEAR


def test_inpainting_is_diffusers(diffusion_folder: Path, nets: dict[str, list[Path]], pictures: pa.StructArray) -> None:
    given: dict[str, Any] = {"negative_prompt": "blue", "guidance_scale": 6.0, "strength": 1.0}
    net = nets["diffusion_folder"][0]
    masks = encode_all([edits.mask(8, 8, 40, 32)])
    theirs = reference(
        StableDiffusionControlNetInpaintPipeline,
        diffusion_folder,
        [net],
        "ddim",
        prompt="a red circle",
        image=decode_all(pictures[1:2])[0],
        mask_image=decode_all(masks)[0].convert("L"),
        control_image=decode_all(pictures[:1])[0],
        controlnet_conditioning_scale=0.8,
        num_inference_steps=5,
        **given,
    )
    spec = Inpaint(
        model=str(diffusion_folder),
        target_prompt="a red circle",
        scheduler="ddim",
        steps=5,
        seed=7,
        paste=False,
        controls=[control(net, scale=0.8)],
        **given,
    )
    [ours] = edits.floats(spec, table(pictures).append_column("mask", masks)).values()
    assert (ours - theirs[0]).abs().max() < NEAR


def company(pictures: pa.StructArray) -> pa.Table:
    return pa.table(
        {
            "prompt": ["a red circle", "a star", "a ring", "a blue cross"],
            "condition_image": pictures[:4],
            "other": pictures[2:6],
            "scale": [0.5, 1.0, 0.0, 2.0],
            "start": [0.0, 0.3, 0.0, 0.5],
            "end": [1.0, 0.7, 0.5, 1.0],
            "guidance_scale": [6.0, 3.0, 5.0, 1.0],
            columns.ROW_ID: list("abcd"),
        }
    )


@pytest.mark.parametrize("more", [None, "sega", "t2i_adapter"])
def test_a_row_with_its_own_picture_is_the_same_alone(
    diffusion_folder: Path, pictures: pa.StructArray, tmp_path: Path, more: str | None
) -> None:
    per_row: dict[str, Any] = {name: Column(column=name) for name in ("scale", "start", "end")}
    model = tiny_conditions.deeper(tmp_path / "deeper", diffusion_folder)
    first, second = (tiny_conditions.controlnet(tmp_path / f"net-{seed}", model, seed) for seed in (0, 1))
    others: dict[str | None, Any] = {
        None: control(second, image="other"),
        "sega": {"sega": {"concepts": [{"prompt": "blue", "warmup": 0, "guidance_scale": 15.0, "threshold": 0.0}]}},
        "t2i_adapter": {
            "t2i_adapter": {"model": str(tiny_conditions.t2i_adapter(tmp_path / "t2i")), "image": "other", "scale": 0.5}
        },
    }
    plain = Generate(model=str(model), steps=3, guidance_scale=Column(column="guidance_scale"))
    made = {
        kept: Generate(
            **(plain.model_dump() | {"controls": [(control(first, **per_row), others[more])[k] for k in kept]})
        )
        for kept in [(0,), (1,), (0, 1)]
    }
    assert apart_in_company(made[0, 1], company(pictures)) < NEAR
    row = company(pictures).slice(1, 1)
    both = floats(made[0, 1], row)
    for one in (made[0,], made[1,]):
        assert (both - floats(one, row)).abs().max() > FAR


def test_reference_and_edit_of_pix2pix_zero_see_the_same_condition(
    nets: dict[str, list[Path]], diffusion_folder: Path, pictures: pa.StructArray
) -> None:
    rows = company(pictures).rename_columns({"prompt": "caption"})
    options: dict[str, Any] = {
        "model": str(diffusion_folder),
        "start": "noise",
        "steps": 3,
        "target_prompt": Column(column="target"),
    }
    rows = rows.append_column("target", pa.array(["a blue circle", "a blue star", "a blue ring", "a cross"]))
    controls = [control(nets["diffusion_folder"][0], scale=Column(column="scale"))]
    steered = Pix2PixZero(controls=controls, **options)
    together = edits.floats(steered, rows)
    for row in range(4):
        [(target, alone)] = edits.floats(steered, rows.slice(row, 1)).items()
        assert (alone - together[target]).abs().max() < NEAR

    source = decode_all(steered.load()(rows)["edited_image_source"].combine_chunks())
    generated = Generate(
        model=str(diffusion_folder),
        scheduler="ddim",
        prompt=Column(column="caption"),
        steps=3,
        controls=controls,
        seed=3,
    )
    again = Pix2PixZero(controls=controls, seed=3, **options).load()(rows)
    made = decode_all(generated.load()(rows)["generated_image"].combine_chunks())
    for one, other in zip(decode_all(again["edited_image_source"].combine_chunks()), made, strict=True):
        apart = torch.tensor(list(one.tobytes())).int() - torch.tensor(list(other.tobytes())).int()
        assert apart.abs().max() <= 1
    assert len({picture.tobytes() for picture in source}) == 4


def test_a_bad_value_costs_its_row_alone(
    nets: dict[str, list[Path]], diffusion_folder: Path, pictures: pa.StructArray
) -> None:
    per_row: dict[str, Any] = {name: Column(column=name) for name in ("scale", "start", "end")}
    spec = Generate(model=str(diffusion_folder), steps=1, controls=[control(nets["diffusion_folder"][0], **per_row)])
    rows = pa.table(
        {
            "prompt": ["a"] * 5,
            "condition_image": pa.array([*pictures[:4].to_pylist(), {"bytes": b"no", "path": None}], columns.IMAGE),
            "scale": [1.0, -1.0, None, 1.0, 1.0],
            "start": [0.0, 0.0, 0.0, 0.6, 0.0],
            "end": [1.0, 1.0, 1.0, 0.5, 1.0],
        }
    )
    errors = spec.load()(rows)[columns.ERROR].to_pylist()
    codes = [None, "value_invalid", "value_missing", "value_invalid", "image_undecodable"]
    assert [error and error["code"] for error in errors] == codes
    assert errors[3]["message"] == "start is 0.6, but must be below end, which is 0.5"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Field required"),
        ({"model": "a/b", "scale": -1}, "greater than or equal to 0"),
        ({"model": "a/b", "start": 0.5, "end": 0.5}, "must be below end"),
        ({"model": "a/b", "end": 1.5}, "less than or equal to 1"),
        ({"model": "a/b", "images": "x"}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Generate(controls=[{"controlnet": options}])


def test_a_network_for_another_model_is_refused(
    nets: dict[str, list[Path]], diffusion_folder: Path, sdxl: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="has cross_attention_dim 32, but the step's model 64"):
        Generate(model=str(sdxl), controls=[control(nets["sd2"][0])]).load()
    adapter = tiny_conditions.t2i_adapter(tmp_path / "t2i")
    spec = Generate(model=str(diffusion_folder), controls=[control(adapter)])
    with pytest.raises(ModelError, match="is a T2IAdapter; the control controlnet takes a ControlNetModel"):
        spec.stage()


def test_the_weights_are_among_the_steps_models(nets: dict[str, list[Path]], diffusion_folder: Path) -> None:
    spec = Generate(model=str(diffusion_folder), controls=[control(net) for net in nets["diffusion_folder"]])
    names = [str(diffusion_folder), *map(str, nets["diffusion_folder"])]
    assert [str(model) for model in spec.models()] == names
    assert list(spec.digests()) == names
    assert len(set(spec.digests().values())) == 3
    assert spec.load().digests() == spec.digests()


def test_in_a_window_the_residuals_are_those_of_the_window(nets: dict[str, list[Path]]) -> None:
    network: Any = ControlNetModel.from_pretrained(nets["diffusion_folder"][0])
    network.controlnet_cond_embedding = torch.nn.Identity()
    encoded, strengths = torch.rand(2, 16, 8, 32), Strengths(Clock(), torch.tensor([[1.0, 0.5]]), (True,))
    # Over the edge, and on from the other side.
    window = Window(torch.arange(8), torch.arange(24, 40) % 32)
    inputs, told = torch.rand(2, 2, 4, 8, 16), {"encoder_hidden_states": torch.rand(4, 3, 32)}
    whole = ControlNetResiduals(network, encoded, strengths, guess=False)
    cut = replace(whole, encoded=torch.cat([encoded[..., 24:], encoded[..., :8]], -1))
    name = "mid_block_additional_residual"
    with torch.no_grad():
        given = whole(inputs, torch.tensor(5), told, window)[name]
        alone = cut(inputs, torch.tensor(5), told, None)[name]
        assert torch.equal(given, alone)
        assert not torch.equal(
            given, replace(cut, encoded=encoded[..., :16])(inputs, torch.tensor(5), told, None)[name]
        )


@pytest.mark.parametrize("kind", ["controlnet", "t2i_adapter"])
def test_half_precision_is_near(
    kind: str, nets: dict[str, list[Path]], diffusion_folder: Path, pictures: pa.StructArray, tmp_path: Path
) -> None:
    folder = tiny_conditions.deeper(tmp_path / "deeper", diffusion_folder)
    is_adapter = kind == "t2i_adapter"
    at = tmp_path / "net"
    net = tiny_conditions.t2i_adapter(at) if is_adapter else tiny_conditions.controlnet(at, folder)
    options: dict[str, Any] = {"model": str(folder), "steps": 2, "seed": 1, "prompt": "a star"}
    spec = Generate(controls=[{kind: {"model": str(net), "scale": 0.5}}], **options)
    half = spec.model_copy(update={"precision": Precision.BFLOAT16})
    assert (floats(half, table(pictures)) - floats(spec, table(pictures))).abs().mean() < 0.02


def test_a_pipelines_own_folder_will_do(
    nets: dict[str, list[Path]], diffusion_folder: Path, pictures: pa.StructArray, tmp_path: Path
) -> None:
    net: Any = ControlNetModel.from_pretrained(nets["diffusion_folder"][0])
    whole: Any = StableDiffusionControlNetPipeline.from_pretrained(
        diffusion_folder, controlnet=net, safety_checker=None
    )
    whole.save_pretrained(tmp_path)
    made = [
        floats(Generate(model=str(model), prompt="a star", steps=1, seed=1, controls=[control(of)]), table(pictures))
        for model, of in ((tmp_path, tmp_path / "controlnet"), (diffusion_folder, nets["diffusion_folder"][0]))
    ]
    assert torch.equal(*made)
