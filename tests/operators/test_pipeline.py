"""``pipeline``: from columns to arguments and from outputs to columns, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
import wave
from pathlib import Path
from typing import Any

import av
import datasets
import diffusers
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from jobs import Job
from operators import Column, Generate, Pipeline, columns
from operators.errors import ColumnError, ModelError
from operators.images import decode_all
from operators.pipeline import Product
from operators.pipeline.arguments import altered
from operators.pipeline.operator import PipelineOperator
from operators.pipeline.probe import batches_are_right
from operators.tensors import pack, unpack
from tests.operators.tinies import others, stable

PROMPT: Any = {"prompt": Column(column="prompt")}
STEPS: Any = {"num_inference_steps": 2}


@pytest.fixture(scope="session")
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sd"
    torch.manual_seed(0)
    stable.stable_diffusion().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "ddim"
    torch.manual_seed(0)
    others.ddim().save_pretrained(folder)
    return folder


def made(folder: Path, table: pa.Table, **options: Any) -> pa.Table:
    return PipelineOperator(Pipeline(model=str(folder), **options))(table)


def test_a_table_of_prompts_becomes_pictures(diffusion: Path) -> None:
    table = pa.table({"prompt": ["a red circle", "a star"]})
    result = made(diffusion, table, arguments=PROMPT | STEPS, format="webp")
    assert result.schema.field("generated_image").type == columns.IMAGE
    assert [Image.open(io.BytesIO(row["bytes"])).format for row in result["generated_image"].to_pylist()] == [
        "WEBP"
    ] * 2
    assert made(diffusion, table, arguments=PROMPT | STEPS, format="webp").equals(result)


def test_written_pictures_are_the_pipelines(pixels: Path) -> None:
    pipeline = diffusers.DDIMPipeline.from_pretrained(pixels)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(generator=torch.Generator().manual_seed(3), **STEPS).images[0]
    result = made(pixels, pa.table({"x": [0]}), arguments=STEPS, seed=3)
    (ours,) = decode_all(result["generated_image"])
    assert np.array_equal(ours, theirs)


def test_rows_with_several_outputs_count_seeds_on(pixels: Path) -> None:
    options: Any = {"arguments": STEPS, "seed": Column(column="seed")}
    several = made(pixels, pa.table({"seed": [10, 20]}), outputs_per_row=2, **options)
    assert several[columns.ROW_ID].to_pylist() == ["0/pipeline.0", "0/pipeline.1", "1/pipeline.0", "1/pipeline.1"]
    counted = made(pixels, pa.table({"seed": [10, 11, 20, 21]}), **options)
    for ours, theirs in zip(*(decode_all(t["generated_image"]) for t in (several, counted)), strict=True):
        assert np.abs(np.asarray(ours, np.int16) - np.asarray(theirs, np.int16)).max() <= 1


def test_rows_with_other_scales_and_sizes_are_the_same_alone(diffusion: Path) -> None:
    table = pa.table(
        {
            "prompt": ["a red circle", "a star", "a ring", "a cross"],
            "scale": [7.5, 1.0, 7.5, 3.0],
            "side": [32, 32, 32, 48],
            columns.ROW_ID: list("abcd"),
        }
    )
    arguments = (
        PROMPT | STEPS | {"guidance_scale": Column(column="scale"), "width": Column(column="side"), "height": 32}
    )
    operator = PipelineOperator(Pipeline(model=str(diffusion), arguments=arguments, produces="latents"))
    together = unpack(operator(table)["generated_latents"])
    assert [array.shape[-1] for array in together] == [16, 16, 16, 24]
    for row in range(4):
        (alone,) = unpack(operator(table.slice(row, 1))["generated_latents"])
        assert np.abs(alone - together[row]).max() <= 0.01
    assert operator.batchable == {(("guidance_scale", True), ("width", True)): True}


def test_a_single_row_is_not_probed(diffusion: Path) -> None:
    operator = PipelineOperator(Pipeline(model=str(diffusion), arguments=PROMPT | STEPS))
    assert operator(pa.table({"prompt": ["a star"]}))[columns.ERROR].null_count == 1
    assert operator.batchable == {}


def test_latents_pass_to_the_next_pipeline_and_bad_ones_reject_their_row(diffusion: Path) -> None:
    table = pa.table({"prompt": ["a star", "a ring", "a cross"]})
    first = made(diffusion, table, arguments=PROMPT | STEPS, produces="latents", output="latents")
    arrays = [np.asarray(array) for array in unpack(first["latents"])]
    assert [array.shape for array in arrays] == [(4, 16, 16)] * 3
    arrays[1] = arrays[1] * np.inf
    table = table.append_column("latents", pack(arrays))
    arguments = PROMPT | STEPS | {"latents": Column(column="latents")}
    result = made(diffusion, table, arguments=arguments)
    assert [error and error["code"] for error in result[columns.ERROR].to_pylist()] == [None, "not_finite", None]


def test_what_a_row_lacks_rejects_it_alone(diffusion: Path) -> None:
    table = pa.table({"prompt": ["a star", None, "a ring"], "scale": [2.0, 2.0, float("nan")]})
    arguments = PROMPT | STEPS | {"guidance_scale": Column(column="scale")}
    errors = made(diffusion, table, arguments=arguments)[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == [None, "value_missing", "value_invalid"]


def test_constants_pass_as_they_are(diffusion: Path, pictures: pa.StructArray) -> None:
    table = pa.table({"image": pictures[:2], "mask": pictures[2:4]})
    arguments = {
        "prompt": "a star",
        "negative_prompt": None,
        "image": Column(column="image"),
        "mask_image": Column(column="mask"),
        "num_inference_steps": 2,
        "cross_attention_kwargs": {},
        "callback_on_step_end_tensor_inputs": ["latents"],
    }
    result = made(diffusion, table, class_="StableDiffusionInpaintPipeline", arguments=arguments)
    assert [picture.size for picture in decode_all(result["generated_image"])] == [(32, 32)] * 2


def test_sound_is_a_wave_file_that_datasets_knows(tmp_path: Path) -> None:
    torch.manual_seed(0)
    others.dance_with_its_channels().save_pretrained(tmp_path / "model")
    spec = Pipeline(model=str(tmp_path / "model"), arguments=STEPS, produces="audio", seed=1)
    result = PipelineOperator(spec)(pa.table({"x": [0, 1]}))
    pipeline = diffusers.DanceDiffusionPipeline.from_pretrained(tmp_path / "model")
    theirs = pipeline(generator=torch.Generator().manual_seed(1), **STEPS).audios[0]
    with wave.open(io.BytesIO(result["generated_audio"][0].as_py()["bytes"])) as file:
        assert (file.getframerate(), file.getnchannels()) == (16_000, 2)
        ours = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).T / 32767
    assert np.abs(ours - theirs).max() <= 1e-4
    job = Job(source=pa.table({"x": [0, 1]}), steps=[spec], sink=str(tmp_path / "out"))
    told = datasets.Features.from_arrow_schema(job.plan().output)
    assert isinstance(told["generated_audio"], datasets.Audio)
    assert job.plan().output.field("generated_audio").type == columns.IMAGE


def test_a_video_is_played_as_it_was_made(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stable.text_to_video().save_pretrained(tmp_path)
    arguments = PROMPT | STEPS | {"num_frames": 3, "height": 34, "width": 32}
    spec = Pipeline(model=str(tmp_path), arguments=arguments, produces="video", frame_rate=4)
    operator = PipelineOperator(spec)
    table = pa.table({"prompt": ["a star"]})
    (given,) = operator.outputs(operator.prepare(table, [5]))
    (row,) = operator(pa.table({"prompt": ["a star"]}))["generated_video"].to_pylist()
    with av.open(io.BytesIO(row["bytes"])) as file:
        assert file.streams.video[0].average_rate == 4
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(frames) == len(given) == 3
    assert frames[0].shape == given[0].shape
    assert spec.describes() == {"generated_video": {columns.FEATURE: "Video"}}


def test_masks_become_grey_and_pictures_rgb(diffusion: Path, pictures: pa.StructArray) -> None:
    arguments = PROMPT | {"image": Column(column="image"), "mask_image": Column(column="image")}
    spec = Pipeline(model=str(diffusion), class_="StableDiffusionInpaintPipeline", arguments=arguments)
    (row,) = PipelineOperator(spec).prepare(pa.table({"prompt": ["a"], "image": pictures[:1]}), [0])
    values = row.decoded().values
    assert (values["image"].mode, values["mask_image"].mode) == ("RGB", "L")


def test_a_pipeline_that_mixes_rows_up_is_found_out(diffusion: Path) -> None:
    operator = PipelineOperator(Pipeline(model=str(diffusion), arguments=PROMPT | STEPS))
    (row,) = operator.prepare(pa.table({"prompt": ["a star"]}), [0])

    def right(rows: Any) -> list[Any]:
        return [np.array([each.seed, len(each.values["prompt"])], np.float32) for each in rows]

    def mixed(rows: Any) -> list[Any]:
        return right([rows[0]] * len(rows))

    def refused(rows: Any) -> list[Any]:
        if len(rows) > 1:
            raise TypeError("no lists")
        return right(rows)

    assert altered(row) != row
    assert batches_are_right(right, right, row, True)
    assert not batches_are_right(mixed, mixed, row, True)
    assert not batches_are_right(refused, refused, row, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arguments": {"promt": "a"}}, "takes no argument 'promt'; did you mean 'prompt'"),
        ({"class_": "CycleDiffusionPipeline", "arguments": {"prompt": "a"}}, "needs the argument 'source_prompt'"),
        ({"class_": "StableDifusionPipeline"}, "did you mean 'StableDiffusionPipeline'"),
        ({"class_": "UNet2DModel"}, "asks for 'UNet2DModel', which diffusers .* has not"),
        ({"class_": "DDPMPipeline", "produces": "latents"}, "can't give latents"),
        ({"class_": "FluxPipeline"}, "can't be loaded as a FluxPipeline: "),
        ({"produces": "audio"}, "say it with `sample_rate`"),
    ],
)
def test_what_a_pipeline_does_not_take_is_one_line(diffusion: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        PipelineOperator(Pipeline(model=str(diffusion), **options))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"arguments": {"generator": 1}}, "it comes from `seed`"),
        ({"arguments": {"num_images_per_prompt": 4}}, "it comes from `outputs_per_row`"),
        ({"arguments": {"output_type": "pil"}}, "it comes from `produces`"),
        ({"produces": "smell"}, "'image', 'audio', 'video' or 'latents'"),
    ],
)
def test_what_no_pipeline_takes_is_refused_at_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Pipeline(model="org/name", **given)


@pytest.mark.parametrize(
    ("column", "argument", "message"),
    [
        ("caption", "image", "column 'caption' is string, but must hold an image or a tensor"),
        ("image", "prompt", "column 'image' is Image, but must hold text"),
        ("scale", "num_inference_steps", "column 'scale' is double, but must hold integer"),
        ("words", "anything", "column 'words' is list<item: string>, but must hold an image, text, a number"),
        ("missing", "prompt", "there is no column 'missing'"),
    ],
)
def test_columns_of_the_wrong_kind_are_refused_by_the_plan(column: str, argument: str, message: str) -> None:
    schema = pa.schema(
        {"caption": pa.string(), "image": columns.IMAGE, "scale": pa.float64(), "words": pa.list_(pa.string())}
    )
    spec = Pipeline(model="org/name", arguments={argument: Column(column=column)})
    with pytest.raises(ColumnError) as raised:
        spec.chain(schema)
    assert message in str(raised.value)


def test_sound_is_no_picture_for_later_steps() -> None:
    sound = Pipeline(model="org/name", produces="audio").chain(pa.schema({"prompt": pa.string()}))
    with pytest.raises(ColumnError, match="column 'generated_audio' is Audio, but must hold image"):
        Generate(image="generated_audio").chain(sound)


def test_the_digest_covers_every_network(diffusion: Path) -> None:
    files = Pipeline(model=str(diffusion)).files()
    assert {path.parent.name for path in files.weights} == {"unet", "vae", "text_encoder"}


def test_pickles_are_refused_unless_asked_for(tmp_path: Path) -> None:
    others.ddim().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(ModelError, match="allow_pickle: true"):
        Pipeline(model=str(tmp_path)).load()
    result = Pipeline(model=str(tmp_path), arguments=STEPS, allow_pickle=True).load()(pa.table({"x": [0]}))
    assert result[columns.ERROR].null_count == 1


def test_a_pipeline_of_the_models_own_is_refused(pixels: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pixels, tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": ["pipeline", "Mine"]}))
    with pytest.raises(ModelError, match="community pipelines and remote code are not supported"):
        Pipeline(model=str(folder)).load()


def test_steps_of_one_process_share_a_pipeline(pixels: Path) -> None:
    first, second = (PipelineOperator(Pipeline(model=str(pixels), output=name)) for name in ("a", "b"))
    assert first._pipeline is second._pipeline


def test_a_column_is_named_for_what_is_produced() -> None:
    assert [Pipeline(model="org/name", produces=each).column for each in Product] == [
        *("generated_image", "generated_audio", "generated_video", "generated_latents")
    ]
