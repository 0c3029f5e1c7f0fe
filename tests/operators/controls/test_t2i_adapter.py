"""T2I-Adapter: the same as diffusers' at batch 1, alone or several, and the same in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from diffusers import (
    MultiAdapter,
    StableDiffusionAdapterPipeline,
    StableDiffusionXLAdapterPipeline,
    UNet2DConditionModel,
)
from diffusers import T2IAdapter as Network

from operators import Column, Generate, columns
from operators.controls.t2i_adapter import T2IAdapter
from operators.diffusion.predictor import Window
from operators.diffusion.residuals import AdapterFeatures
from operators.diffusion.strengths import Clock, Strengths
from operators.errors import ModelError
from operators.images import decode_all
from tests.operators import tiny_conditions
from tests.operators.floats import apart_in_company, floats
from tests.operators.floats import reference as plain_reference

NEAR, FAR = 1e-4, 5e-3
KINDS = [
    ("sd1", "full_adapter", 3),
    ("sd1", "light_adapter", 3),
    ("sd2", "full_adapter", 1),
    ("sdxl", "full_adapter_xl", 3),
]
GIVEN: dict[str, Any] = {"prompt": "a red circle", "negative_prompt": "blue", "guidance_scale": 6.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, diffusion_folder: Path, sd2: Path, sdxl: Path) -> dict[str, Path]:
    at = tmp_path_factory.mktemp("models")
    return {
        name: tiny_conditions.deeper(at / name, base)
        for name, base in {"sd1": diffusion_folder, "sd2": sd2, "sdxl": sdxl}.items()
    }


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int, int], Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        (kind, grey, seed): tiny_conditions.t2i_adapter(folder / f"{kind}-{grey}-{seed}", kind, seed, grey)
        for _, kind, grey in KINDS
        for seed in (0, 1)
    }


def reference(pipeline_class: Any, folder: Path, nets: list[Path], **given: Any) -> Any:
    loaded = [Network.from_pretrained(net) for net in nets]
    whole = loaded[0] if len(loaded) == 1 else MultiAdapter(loaded)

    class WithAdapters:
        @staticmethod
        def from_pretrained(folder: Path, **options: Any) -> Any:
            return pipeline_class.from_pretrained(folder, adapter=whole, **options)

    return plain_reference(WithAdapters, folder, None, 7, **given)


def control(net: Path, **options: Any) -> T2IAdapter:
    return T2IAdapter(model=str(net), **options)


@pytest.mark.parametrize(("model", "kind", "channels"), KINDS)
def test_one_is_diffusers(
    model: str,
    kind: str,
    channels: int,
    adapters: dict[tuple[str, int, int], Path],
    pictures: pa.StructArray,
    folders: dict[str, Path],
) -> None:
    folder, net = folders[model], adapters[kind, channels, 0]
    picture: Any = decode_all(pictures[:1])[0]
    isxl = model == "sdxl"
    theirs = reference(
        StableDiffusionXLAdapterPipeline if isxl else StableDiffusionAdapterPipeline,
        folder,
        [net],
        image=picture.convert("L") if channels == 1 else picture,
        num_inference_steps=5,
        adapter_conditioning_scale=0.7,
        **({"adapter_conditioning_factor": 0.6} if isxl else {}),
        **GIVEN,
    )
    plain = Generate(model=str(folder), steps=5, seed=7, **GIVEN)
    steered = plain.model_copy(update={"controls": (control(net, scale=0.7, end=0.6 if isxl else 1.0),)})
    table = pa.table({"condition_image": pictures[:1]})
    ours = floats(steered, table)
    assert (ours - theirs).abs().max() < NEAR
    assert (ours - floats(plain, table)).abs().max() > FAR


@pytest.mark.parametrize("model", ["sd1", "sdxl"])
def test_two_are_diffusers(
    model: str, adapters: dict[tuple[str, int, int], Path], pictures: pa.StructArray, folders: dict[str, Path]
) -> None:
    folder = folders[model]
    isxl = model == "sdxl"
    nets = [adapters["full_adapter_xl" if isxl else "full_adapter", 3, seed] for seed in (0, 1)]
    theirs = reference(
        StableDiffusionXLAdapterPipeline if isxl else StableDiffusionAdapterPipeline,
        folder,
        nets,
        image=decode_all(pictures[:2]),
        num_inference_steps=4,
        adapter_conditioning_scale=[0.5, 1.2],
        **GIVEN,
    )
    first, second = control(nets[0], scale=0.5), control(nets[1], scale=1.2, image="other")
    plain = Generate(model=str(folder), steps=4, seed=7, **GIVEN)
    table = pa.table({"condition_image": pictures[:1], "other": pictures[1:2]})
    ours = floats(plain.model_copy(update={"controls": (first, second)}), table)
    assert (ours - theirs).abs().max() < NEAR
    for one in (first, second):
        assert (ours - floats(plain.model_copy(update={"controls": (one,)}), table)).abs().max() > FAR


def test_a_row_with_its_own_picture_is_the_same_alone(
    adapters: dict[tuple[str, int, int], Path], folders: dict[str, Path], pictures: pa.StructArray
) -> None:
    table = pa.table(
        {
            "prompt": ["a red circle", "a star", "a ring", "a blue cross"],
            "condition_image": pictures[:4],
            "scale": [0.5, 1.0, 0.0, 2.0],
            "start": [0.0, 0.25, 0.0, 0.5],
            "end": [1.0, 0.75, 0.5, 1.0],
            columns.ROW_ID: list("abcd"),
        }
    )
    per_row: dict[str, Any] = {name: Column(column=name) for name in ("scale", "start", "end")}
    steered = control(adapters["full_adapter", 3, 0], **per_row)
    assert apart_in_company(Generate(model=str(folders["sd1"]), steps=4, controls=[steered]), table) < NEAR


def test_in_a_window_the_features_are_those_of_the_window(folders: dict[str, Path]) -> None:
    unet: Any = UNet2DConditionModel.from_pretrained(folders["sd1"] / "unet")
    wide = torch.arange(2 * 16 * 8 * 32.0).view(2, 16, 8, 32) / 1e4, torch.rand(2, 32, 4, 16)
    strengths = Strengths(Clock(), torch.ones(1, 2), (True,))
    whole = AdapterFeatures(wide, (8, 32), strengths)
    # Over the edge, and on from the other side.
    window = Window(torch.arange(8), torch.arange(24, 40) % 32)
    inputs, told = torch.rand(2, 2, 4, 8, 16), {"encoder_hidden_states": torch.rand(4, 3, 32)}
    given = whole(inputs, torch.tensor(5), told, window)
    cut = tuple(torch.cat([one[..., 3 * one.shape[-1] // 4 :], one[..., : one.shape[-1] // 4]], -1) for one in wide)
    alone = AdapterFeatures(cut, (8, 16), strengths)(inputs, torch.tensor(5), told, None)
    for name, values in alone.items():
        assert all(torch.equal(one, other) for one, other in zip(values, given[name], strict=True))
    assert unet(inputs.flatten(0, 1), 5, **told, **given).sample.shape == (4, 4, 8, 16)


def test_a_size_that_the_network_can_not_take_costs_its_row(
    adapters: dict[tuple[str, int, int], Path], folders: dict[str, Path], pictures: pa.StructArray
) -> None:
    net = adapters["full_adapter_xl", 3, 0]
    spec = Generate(model=str(folders["sdxl"]), steps=1, width=Column(column="width"), controls=[control(net)])
    table = pa.table({"prompt": ["a", "b"], "width": [64, 68], "condition_image": pictures[:2]})
    errors = spec.load()(table)[columns.ERROR].to_pylist()
    assert errors[0] is None
    assert errors[1]["message"] == f"the picture is to have 68 x 64 pixels, but {net} takes multiples of 8"


def test_a_network_for_another_model_is_refused(
    adapters: dict[tuple[str, int, int], Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    net = Network(channels=[32, 32], num_res_blocks=1, downscale_factor=8, adapter_type="full_adapter_xl")
    net.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="it was trained for another model"):
        Generate(model=str(folders["sdxl"]), controls=[control(tmp_path)]).load()
    with pytest.raises(ModelError, match="is a full_adapter, which the step's model has no places for"):
        Generate(model=str(folders["sdxl"]), controls=[control(adapters["full_adapter", 3, 0])]).load()
