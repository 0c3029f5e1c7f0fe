"""The built-in models are what they say: real folders, half precision, small, and good at the scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors import safe_open

import operators.models.builtin as builtin
from operators import Caption, Generate
from operators.images import decode, encode_all
from operators.models.builtin.reading import NOTHING, read
from operators.models.builtin.scenes import COLOURS, HELD_OUT_SERIES, SHAPES, TEXTURES, captions, draw, masks, scene

FOLDER = Path(builtin.__file__).parent


@pytest.fixture(scope="module")
def scenes():
    return [scene(index, HELD_OUT_SERIES) for index in range(40)]


def test_scenes_vary_and_depend_on_their_number_alone():
    some = [scene(index, 5) for index in range(400)]
    assert {s.shape for s in some} == set(SHAPES)
    assert {s.colour for s in some} == {s.background for s in some} == set(COLOURS)
    assert {s.texture for s in some} == set(TEXTURES)
    assert all(s.colour != s.background for s in some)
    assert scene(17, 5) == some[17] != scene(17, 6)
    assert len({s.place for s in some}) == 9


def test_the_reader_reads_what_was_drawn_even_under_noise():
    some = [scene(index, 5) for index in range(120)]
    pictures = draw(some)
    noisy = np.clip(pictures + np.random.default_rng(0).normal(0, 12, pictures.shape), 0, 255).astype(np.uint8)
    for batch in (pictures, noisy):
        got = [read(picture) for picture in batch]
        assert [reading.caption for reading in got] == [s.caption for s in some]
        assert max(abs(reading.x - s.x) for reading, s in zip(got, some, strict=True)) < 1
        assert min(reading.overlap for reading in got) > 0.85


def test_the_reader_sees_nothing_where_nothing_is():
    assert read(np.full((64, 64, 3), COLOURS["blue"], np.uint8)) == NOTHING


def test_masks_cover_the_object():
    some = [scene(index, 5) for index in range(40)]
    for picture, mask, item in zip(draw(some), masks(some), some, strict=True):
        inside = np.abs(picture[mask].astype(int) - COLOURS[item.colour]).mean()
        outside = np.abs(picture[~mask].astype(int) - COLOURS[item.colour]).mean()
        assert inside < 25 < outside


def test_weights_are_small_and_in_half_precision():
    weights = list(FOLDER.rglob("*.safetensors"))
    assert len(weights) == 7
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 30e6
    for path in weights:
        with safe_open(path, "pt") as tensors:
            kinds = {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
        assert kinds <= {"F16", "I64"}, path


def test_diffusers_loads_and_runs_the_folder():
    import torch
    from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    pipeline = StableDiffusionPipeline.from_pretrained(FOLDER / "stable-diffusion")
    assert isinstance(pipeline.vae, AutoencoderTiny)
    assert isinstance(pipeline.unet, UNet2DConditionModel)
    assert isinstance(pipeline.text_encoder, CLIPTextModel)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    generator = torch.Generator().manual_seed(5)
    made = pipeline(
        "a red circle on a blue background", num_inference_steps=20, guidance_scale=3.0, generator=generator
    )
    reading = read(np.asarray(made.images[0]))
    assert (reading.colour, reading.background) == ("red", "blue")


def test_transformers_loads_and_runs_the_captioner(scenes):
    from PIL import Image
    from transformers import AutoProcessor, BlipForConditionalGeneration

    processor = AutoProcessor.from_pretrained(FOLDER / "blip")
    model = BlipForConditionalGeneration.from_pretrained(FOLDER / "blip")
    pictures = [Image.fromarray(picture) for picture in draw(scenes[:8])]
    said = model.generate(**processor(images=pictures, return_tensors="pt"))
    assert processor.batch_decode(said, skip_special_tokens=True) == [item.caption for item in scenes[:8]]


def test_captions_are_right(scenes):
    table = Caption().load()(pa.table({"image": encode_all(draw(scenes))}))
    right = [said == item.caption for said, item in zip(table["caption"].to_pylist(), scenes, strict=True)]
    assert np.mean(right) >= 0.95


def test_transformers_loads_clip_and_captions_are_nearest_to_their_pictures():
    import torch
    from PIL import Image
    from transformers import AutoProcessor, CLIPModel

    some, texts = [scene(index, HELD_OUT_SERIES) for index in range(100)], captions()
    assert len(set(texts)) == 336
    model, processor = CLIPModel.from_pretrained(FOLDER / "clip"), AutoProcessor.from_pretrained(FOLDER / "clip")
    pictures = [Image.fromarray(picture) for picture in draw(some)]
    with torch.no_grad():
        near = model(
            **processor(text=texts, images=pictures, padding=True, return_tensors="pt")
        ).logits_per_image.argmax(1)
    assert np.mean([texts[at] == item.caption for at, item in zip(near, some, strict=True)]) >= 0.85


def test_pictures_are_right(scenes):
    table = Generate(steps=30).load()(pa.table({"prompt": [item.caption for item in scenes]}))
    got = [read(np.asarray(decode(picture))).caption for picture in table["generated_image"].to_pylist()]
    assert np.mean([caption == item.caption for caption, item in zip(got, scenes, strict=True)]) >= 0.9
