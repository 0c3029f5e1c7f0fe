"""Image to image, inpainting, InstructPix2Pix, CycleDiffusion: as diffusers has them, and the same in any company."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
)
from diffusers.pipelines.deprecated.stable_diffusion_variants.pipeline_cycle_diffusion import CycleDiffusionPipeline
from PIL import Image
from pydantic import ValidationError

from operators import Column, columns
from operators.diffusion.inpainting import covered
from operators.diffusion.loop import guide_by_picture
from operators.diffusion.schedulers import build
from operators.edit.base import Edit
from operators.edit.cycle import Cycle
from operators.edit.img2img import Img2Img
from operators.edit.inpaint import Inpaint
from operators.edit.instruct import Instruct
from operators.errors import ModelError
from operators.images import decode_all, encode_all
from operators.models.builtin.scenes import TRAINING_SERIES, scene
from tests.operators import tiny
from tests.operators.edits import floats, floats_of, mask
from training import language
from training.instructor import edit

SCHEDULERS = ["ddim", "euler", "euler_ancestral", "dpmpp_2m", "pndm", "heun", "ddpm"]
DRAWING = ["euler_ancestral", "ddpm"]
"""Samplers that add noise: with 4 channels diffusers draws some for a masked picture that it does not use."""
NEAR = 1e-4
EVERY: list[type[Edit]] = [Img2Img, Inpaint, Instruct, Cycle]


@pytest.fixture(scope="module")
def instructed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.stable_diffusion(tmp_path_factory.mktemp("models") / "eight", tiny.autoencoder_kl(), 8)


@pytest.fixture(scope="module")
def inpainting_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.stable_diffusion(tmp_path_factory.mktemp("models") / "nine", tiny.autoencoder_kl(), 9)


@pytest.fixture(scope="module")
def folders(diffusion_folder: Path, instructed_folder: Path) -> dict[type[Edit], str]:
    return dict.fromkeys(EVERY, str(diffusion_folder)) | {Instruct: str(instructed_folder)}


@pytest.fixture(scope="module")
def masks() -> pa.StructArray:
    return encode_all([mask(4 * k, 8, 40, 32 + 4 * k) for k in range(6)])


def reference(pipeline_class: Any, folder: Path, scheduler: str | None, **given: Any) -> torch.Tensor:
    pipeline = pipeline_class.from_pretrained(folder, safety_checker=None)
    pipeline.scheduler = build(scheduler, pipeline.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(generator=torch.Generator().manual_seed(7), output_type="np", **given).images
    return torch.from_numpy(made[0]).permute(2, 0, 1)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_image_to_image_is_diffusers(diffusion_folder: Path, pictures: pa.StructArray, scheduler: str) -> None:
    given: Any = {"negative_prompt": "blue", "guidance_scale": 6.0, "strength": 0.55}
    theirs = reference(
        StableDiffusionImg2ImgPipeline,
        diffusion_folder,
        scheduler,
        prompt="a red circle",
        image=decode_all(pictures[:1])[0],
        num_inference_steps=9,
        **given,
    )
    spec = Img2Img(
        model=str(diffusion_folder), target_prompt="a red circle", scheduler=scheduler, steps=9, seed=7, **given
    )
    [ours] = floats(spec, pa.table({"image": pictures[:1]})).values()
    assert (ours - theirs).abs().max() < NEAR


@pytest.mark.parametrize("strength", [0.55, 1.0])
@pytest.mark.parametrize("guidance_scale", [1.0, 6.0])
@pytest.mark.parametrize(
    ("channels", "scheduler"),
    [*((4, name) for name in SCHEDULERS if name not in DRAWING), (9, "ddim"), (9, "euler_ancestral")],
)
def test_inpainting_is_diffusers(
    pictures: pa.StructArray,
    masks: pa.StructArray,
    channels: int,
    scheduler: str,
    guidance_scale: float,
    strength: float,
    request: pytest.FixtureRequest,
) -> None:
    folder = request.getfixturevalue("diffusion_folder" if channels == 4 else "inpainting_folder")
    given: Any = {"negative_prompt": "blue", "guidance_scale": guidance_scale, "strength": strength}
    theirs = reference(
        StableDiffusionInpaintPipeline,
        folder,
        scheduler,
        prompt="a red circle",
        image=decode_all(pictures[:1])[0],
        mask_image=decode_all(masks[:1])[0].convert("L"),
        num_inference_steps=9,
        **given,
    )
    spec = Inpaint(
        model=str(folder),
        target_prompt="a red circle",
        scheduler=scheduler,
        steps=9,
        seed=7,
        paste=False,
        **given,
    )
    [ours] = floats(spec, pa.table({"image": pictures[:1], "mask": masks[:1]})).values()
    assert (ours - theirs).abs().max() < NEAR


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_instruct_is_diffusers(instructed_folder: Path, pictures: pa.StructArray, scheduler: str) -> None:
    given: Any = {"negative_prompt": "blue", "guidance_scale": 6.0, "image_guidance_scale": 1.3}
    theirs = reference(
        StableDiffusionInstructPix2PixPipeline,
        instructed_folder,
        scheduler,
        prompt="change circle to star",
        image=decode_all(pictures[:1])[0],
        num_inference_steps=6,
        **given,
    )
    spec = Instruct(
        model=str(instructed_folder), scheduler=scheduler, steps=6, seed=7, from_="circle", to="star", **given
    )
    [ours] = floats(spec, pa.table({"image": pictures[:1]})).values()
    assert (ours - theirs).abs().max() < NEAR


@pytest.mark.parametrize(
    ("guidance_scale", "source_guidance_scale", "eta"), [(6.0, 1.0, 0.1), (4.0, 2.5, 0.7), (1.0, 1.0, 0.1)]
)
def test_cycle_is_diffusers(
    diffusion_folder: Path,
    pictures: pa.StructArray,
    guidance_scale: float,
    source_guidance_scale: float,
    eta: float,
) -> None:
    given: Any = {
        "guidance_scale": guidance_scale,
        "source_guidance_scale": source_guidance_scale,
        "eta": eta,
        "strength": 0.7,
    }
    theirs = reference(
        CycleDiffusionPipeline,
        diffusion_folder,
        "ddim",
        prompt="a red star",
        source_prompt="a red circle",
        image=decode_all(pictures[:1])[0],
        num_inference_steps=10,
        **given,
    )
    spec = Cycle(
        model=str(diffusion_folder), prompt="a red circle", target_prompt="a red star", steps=10, seed=7, **given
    )
    [ours] = floats(spec, pa.table({"image": pictures[:1]})).values()
    assert (ours - theirs).abs().max() < NEAR


PER_ROW = ["target_prompt", "negative_prompt", "guidance_scale", "steps", "width", "height", "seed"]


@pytest.fixture
def rows(pictures: pa.StructArray, masks: pa.StructArray) -> pa.Table:
    """Seven rows, four of which go through the networks together."""
    again = [0, 1, 2, 3, 4, 5, 0]
    return pa.table(
        {
            "image": pictures.take(again),
            "mask": masks.take(again),
            "caption": ["a red circle", "a star", "", "a blue ring", "a cross", "a ring", "a white star"],
            "target_prompt": ["a blue circle", "a cross", "a", "a ring", "a red square", "", "a black star"],
            "negative_prompt": ["", "blue", "a circle", "", "red", "", "a very odd thing"],
            "guidance_scale": [7.5, 4.0, 3.0, 12.0, 0.0, 2.0, 3.0],
            "source_guidance_scale": [1.0, 0.5, 1.0, 0.0, 2.0, 2.0, 1.0],
            "image_guidance_scale": [1.5, 1.0, 0.0, 2.0, 1.5, 1.5, 3.0],
            "steps": [5, 5, 5, 5, 5, 6, 5],
            "width": [64, 64, 64, 64, 64, 64, 48],
            "height": [64] * 7,
            "seed": [1, 2, 3, 4, 5, 6, 7],
            "strength": [0.6, 0.6, 0.6, 0.6, 0.8, 0.6, 1.0],
        }
    )


def per_row(method: type[Edit]) -> dict[str, Any]:
    return {name: Column(column=name) for name in [*PER_ROW, *method.per_row]}


@pytest.mark.parametrize("scheduler", [None, "euler_ancestral"])
@pytest.mark.parametrize(
    ("method", "folder"),
    [
        (Img2Img, "diffusion_folder"),
        (Inpaint, "diffusion_folder"),
        (Inpaint, "inpainting_folder"),
        (Instruct, "instructed_folder"),
        (Cycle, "diffusion_folder"),
    ],
)
def test_a_row_is_the_same_alone(
    method: type[Edit], folder: str, scheduler: str | None, rows: pa.Table, request: pytest.FixtureRequest
) -> None:
    if method is Cycle and scheduler is not None:
        scheduler = "ddim"
    model = str(request.getfixturevalue(folder))
    operator = method(model=model, scheduler=scheduler, **per_row(method)).load()
    together = floats_of(operator, rows)
    assert len({float(picture.mean()) for picture in together.values()}) == 7
    for row in range(7):
        [(target, alone)] = floats_of(operator, rows.slice(row, 1)).items()
        assert alone.shape == (3, 64, rows["width"][row].as_py())
        assert (alone - together[target]).abs().max() < NEAR


@pytest.mark.parametrize("option", ["negative_prompt", "guidance_scale", "seed", "strength", "image", "mask"])
@pytest.mark.parametrize("method", EVERY)
def test_every_option_of_a_row_counts(
    method: type[Edit], option: str, rows: pa.Table, folders: dict[type[Edit], str]
) -> None:
    if option not in method(target_prompt="", to=None).reads() | per_row(method):
        return
    spec = method(model=folders[method], **per_row(method))
    before = floats(spec, rows[:2])
    place = rows.schema.get_field_index(option)
    after = floats(spec, rows[:2].set_column(place, option, rows[option].take([4, 1])))
    first, second = rows["target_prompt"].to_pylist()[:2]
    assert (before[first] - after[first]).abs().max() > 10 * NEAR
    assert (before[second] - after[second]).abs().max() < NEAR


@pytest.mark.parametrize("eta", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_cycle_to_the_same_prompt_gives_the_picture_back(
    diffusion_folder: Path, pictures: pa.StructArray, guidance_scale: float, eta: float
) -> None:
    options: Any = {"guidance_scale": guidance_scale, "source_guidance_scale": guidance_scale, "eta": eta}
    spec = Cycle(
        model=str(diffusion_folder), prompt="a star", target_prompt="a star", steps=10, strength=0.9, seed=3, **options
    )
    operator: Any = spec.load()
    [made] = floats_of(operator, pa.table({"image": pictures[:1]})).values()
    family = operator._family
    generator = torch.Generator().manual_seed(3)
    pixels = torch.from_numpy(np.array(decode_all(pictures[:1])[0])).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        encoded = family.decode(family.encode_images(pixels, [generator]))[0]
    assert (made - encoded).abs().max() < 1e-5


def test_guidance_by_a_picture_and_a_text_is_equation_three() -> None:
    passes = torch.randn(3, 4, 4, 2, 2)
    text, picture = torch.tensor([1.0, 0.0, 0.0, 5.0]), torch.tensor([1.0, 1.0, 0.0, 2.0])
    guided = guide_by_picture(passes, text, picture)
    torch.testing.assert_close(guided[0], passes[2, 0])
    torch.testing.assert_close(guided[1], passes[1, 1])
    torch.testing.assert_close(guided[2], passes[0, 2])
    torch.testing.assert_close(guided[3], 5 * passes[2, 3] - 3 * passes[1, 3] - passes[0, 3])


@pytest.mark.parametrize("folder", ["diffusion_folder", "inpainting_folder"])
def test_pixels_outside_of_the_mask_are_the_picture_s_own(
    folder: str, pictures: pa.StructArray, request: pytest.FixtureRequest
) -> None:
    model = str(request.getfixturevalue(folder))
    thin = mask(31, 5, 32, 64)
    table = pa.table({"image": pictures[:1], "mask": encode_all([thin])})
    [edited] = decode_all(Inpaint(model=model, target_prompt="a star", steps=3).load()(table)["edited_image"])
    changed = (np.array(edited) != np.array(decode_all(pictures[:1])[0])).any(2)
    assert not changed[np.array(thin) == 0].any()
    assert changed[np.array(thin) > 0].mean() > 0.9


def test_a_latent_may_change_where_any_of_its_pixels_may() -> None:
    thin = torch.zeros(1, 1, 16, 16)
    thin[0, 0, 5, 6] = 1
    assert covered(thin, 4, 4).nonzero().tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("method", EVERY)
def test_a_row_becomes_one_row_for_each_target(
    method: type[Edit], rows: pa.Table, folders: dict[type[Edit], str]
) -> None:
    options: Any = {"model": folders[method], "steps": 4, "from_": "star"}
    table = rows[1:2].append_column(columns.ROW_ID, pa.array(["x.png"]))
    result = method(to=["red cross", "ring"], **options).load()(table)
    assert result[columns.ROW_ID].to_pylist() == ["x.png/edit.red-cross", "x.png/edit.ring"]
    wanted = ["a red cross", "a ring"]
    if method is Instruct:
        wanted = ["change star to red cross", "change star to ring"]
    assert result["edited_image_prompt"].to_pylist() == wanted
    made = [np.asarray(picture, np.int16) for picture in decode_all(result["edited_image"])]
    assert abs(made[0] - made[1]).max() > 1
    table = table.append_column(columns.SEED, pa.array([11]))
    twice = method(to=["ring", "Ring"], **options).load()(table)
    one, other = map(np.asarray, decode_all(twice["edited_image"]))
    assert (one == other).all()


@pytest.mark.parametrize("method", EVERY)
def test_what_is_left_out_of_a_text_is_told(method: type[Edit], rows: pa.Table, folders: dict[type[Edit], str]) -> None:
    long = "a star " * 20
    spec = method(model=folders[method], target_prompt=Column(column="text"), steps=2)
    texts = pa.array([f"{long}ring", "a star"])
    result = spec.load()(rows[:2].append_column("text", texts))
    first, second = result["edited_image_truncated"].to_pylist()
    assert first.strip().endswith("ring")
    assert second is None


@pytest.mark.parametrize("method", EVERY)
def test_a_prompt_counts_as_cut_only_where_the_network_is_told_it(
    method: type[Edit], rows: pa.Table, folders: dict[type[Edit], str]
) -> None:
    spec = method(model=folders[method], prompt="a star " * 20, target_prompt="a ring", steps=2)
    (told,) = spec.load()(rows[:1])["edited_image_truncated"].to_pylist()
    assert (told is not None) == (method is Cycle)


BAD: list[tuple[type[Edit], str, Any, str, str]] = [
    *((method, "image", None, "image_missing", "the picture is null") for method in EVERY),
    *((method, "target_prompt", None, "value_missing", "target_prompt is null") for method in EVERY),
    *((method, "steps", 0, "value_invalid", "steps is 0, but must be in 1..1000") for method in EVERY),
    *(
        (method, "strength", value, "value_invalid", f"strength is {value}")
        for method in (Img2Img, Inpaint, Cycle)
        for value in (0.0, 0.1, 1.5, float("nan"))
    ),
    (Inpaint, "mask", None, "image_missing", "the picture is null"),
    (Cycle, "caption", None, "value_missing", "prompt is null"),
    (Instruct, "image_guidance_scale", None, "value_missing", "image_guidance_scale is null"),
    (Cycle, "source_guidance_scale", float("inf"), "value_invalid", "source_guidance_scale is inf"),
]


@pytest.mark.parametrize(("method", "column", "value", "code", "message"), BAD)
def test_a_bad_value_costs_its_row_alone(
    method: type[Edit],
    column: str,
    value: Any,
    code: str,
    message: str,
    rows: pa.Table,
    folders: dict[type[Edit], str],
) -> None:
    given = rows[:3].to_pylist()
    given[1] |= {column: value}
    result = method(model=folders[method], **per_row(method)).load()(pa.Table.from_pylist(given, rows.schema))
    assert_only_the_second_fails(result, code, message)


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (mask(0, 0, 64, 32).resize((32, 32)), "the mask has 32 x 32 pixels, but its picture 64 x 64"),
        (mask(0, 0, 0, 0), "the mask is empty"),
    ],
)
def test_a_bad_mask_costs_its_row_alone(
    diffusion_folder: Path, rows: pa.Table, drawn: Image.Image, message: str
) -> None:
    given = rows[:3].to_pylist()
    given[1] |= {"mask": encode_all([drawn]).to_pylist()[0]}
    spec = Inpaint(model=str(diffusion_folder), target_prompt="a star", steps=2)
    assert_only_the_second_fails(spec.load()(pa.Table.from_pylist(given, rows.schema)), "mask_invalid", message)


@pytest.mark.parametrize("method", EVERY)
def test_a_picture_too_small_costs_its_row_alone(
    method: type[Edit], rows: pa.Table, folders: dict[type[Edit], str]
) -> None:
    given = rows[:3].to_pylist()
    small = Image.new("RGB", (16, 64))
    given[1] |= {name: encode_all([small]).to_pylist()[0] for name in ("image", "mask")}
    result = method(model=folders[method], target_prompt="a", steps=2).load()(pa.Table.from_pylist(given, rows.schema))
    assert_only_the_second_fails(result, "image_too_small", "the picture has 16 x 64 pixels")


@pytest.mark.parametrize("method", [Img2Img, Inpaint, Cycle])
def test_a_prompt_must_mention_what_to_change(
    method: type[Edit], rows: pa.Table, folders: dict[type[Edit], str]
) -> None:
    table = rows[:3].set_column(2, "caption", pa.array(["a star", "a starfish", "two Star"]))
    result = method(model=folders[method], from_="star", to="ring", steps=2).load()(table)
    assert_only_the_second_fails(result, "value_invalid", "the prompt 'a starfish' does not mention 'star'")


def assert_only_the_second_fails(result: pa.Table, code: str, message: str) -> None:
    first, second, third = result[columns.ERROR].to_pylist()
    assert first is third is None
    assert second["code"] == code
    assert second["message"].startswith(message)
    assert result["edited_image"].is_null().to_pylist() == [False, True, False]


def test_a_prompt_is_read_only_where_it_is_needed() -> None:
    def reads(method: type[Edit], **options: Any) -> set[str]:
        return set(method(**options).reads())

    assert reads(Img2Img, target_prompt="a") == {"image"}
    assert reads(Img2Img, from_="a", to="b") == {"image", "caption"}
    assert reads(Inpaint, target_prompt="a") == {"image", "mask"}
    assert reads(Instruct, from_="a", to=Column(column="new")) == {"image", "new"}
    assert reads(Cycle, target_prompt="a") == {"image", "caption"}


@pytest.mark.parametrize(
    ("options", "instruction"),
    [
        ({"from_": "star", "to": "ring"}, "change star to ring"),
        ({"from_": "star", "to": "ring", "template": "replace the {from} with a {to}"}, "replace the star with a ring"),
        ({"to": "{from} red", "template": "make it {to}"}, "make it {from} red"),
        ({"target_prompt": "make it red"}, "make it red"),
    ],
)
def test_an_instruction_is_given_or_made(
    instructed_folder: Path, rows: pa.Table, options: dict[str, Any], instruction: str
) -> None:
    result = Instruct(model=str(instructed_folder), steps=1, **options).load()(rows[:1])
    assert result["edited_image_prompt"].to_pylist() == [instruction]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (
            Cycle,
            {"target_prompt": "a", "scheduler": "euler"},
            "cycle is wrong with scheduler 'euler'; it takes ddim or",
        ),
        (Cycle, {"target_prompt": "a", "eta": 1.5}, "less than or equal to 1"),
        (Img2Img, {"target_prompt": "a", "strength": 0}, "greater than 0"),
        (Img2Img, {"to": "a"}, "`from` and `to`, or give a `target_prompt`"),
        (Img2Img, {"target_prompt": "a", "mask": "mask"}, "Extra inputs"),
        (Inpaint, {"target_prompt": "a", "to": "b"}, "one or the other"),
        (Instruct, {"template": "make it {to}"}, "what to change with `to`, or"),
        (Instruct, {"from_": "a", "to": "b", "template": "change it"}, "needs {to}"),
        (Instruct, {"from_": "a", "to": "b", "template": "{frm} to {to}"}, "other words in braces"),
        (Instruct, {"from_": "a", "to": "b", "template": "{to"}, "expected '}'"),
        (Instruct, {"target_prompt": "a", "image_guidance_scale": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_options_are_refused(method: type[Edit], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        method(**options)


@pytest.mark.parametrize(
    ("method", "folder", "message"),
    [
        (Instruct, "diffusion_folder", "takes 4 channels of latents; this step gives 8"),
        (Inpaint, "instructed_folder", "takes 8 channels of latents; this step gives 4 or 9"),
        (Img2Img, "inpainting_folder", "takes 9 channels of latents; this step gives 4"),
        (Cycle, "inpainting_folder", "takes 9 channels of latents; this step gives 4"),
    ],
)
def test_a_model_of_other_channels_is_refused(
    method: type[Edit], folder: str, message: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(ModelError, match=message):
        method(model=str(request.getfixturevalue(folder)), target_prompt="a").load()


def test_the_built_in_model_learns_from_instructions_that_tell_the_change() -> None:
    tokens = language.prompt_tokenizer()
    rng = random.Random(0)
    for index in range(500):
        before = scene(index, TRAINING_SERIES)
        instruction, after = edit(before, rng)
        assert len(tokens(instruction, truncation=False).input_ids) <= language.PROMPT_TOKENS
        changed = [name for name in ("shape", "colour", "background") if getattr(before, name) != getattr(after, name)]
        assert changed
        assert all(getattr(after, name) in instruction.split() for name in changed)
        assert after.colour != after.background
        assert (after.x, after.y, after.radius, after.texture) == (before.x, before.y, before.radius, before.texture)
