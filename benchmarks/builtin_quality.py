"""How well the built-in models draw and say what they should, on scenes that they were never trained on.

vae_psnr        dB, of pictures against themselves through the autoencoder
generate_right  share of pictures whose shape and both colours are those of the prompt, read from the pixels
caption_exact   share of captions that are right word for word
clip_first      share of pictures whose caption is nearest of all 336 that scenes can have
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
import pyarrow as pa
import torch

from operators import Caption, Generate
from operators.diffusion.family import load_family
from operators.images import decode, encode_all
from operators.models.builtin.reading import read
from operators.models.builtin.scenes import HELD_OUT_SERIES, Scene, captions, draw, scene
from operators.models.loading import ModelFiles, diffusion_files
from operators.models.ref import ModelRef
from operators.score.vision import load_vision


def measure(quick: bool) -> dict[str, Any]:
    """The figures, with the number of scenes that each was taken on."""
    shown, drawn = (128, 40) if quick else (1000, 200)
    scenes = [scene(index, HELD_OUT_SERIES) for index in range(shown)]
    asked = [scene(index, HELD_OUT_SERIES) for index in range(10_000, 10_000 + drawn)]
    right, overlap = generate_right(asked)
    return {
        "vae_psnr": round(vae_psnr(scenes), 2),
        "generate_right": right,
        "caption_exact": caption_exact(scenes),
        "clip_first": clip_first(scenes),
        "generate_overlap": overlap,
        "scenes": shown,
        "prompts": drawn,
    }


def vae_psnr(scenes: list[Scene]) -> float:
    """PSNR over all pixels of all pictures."""
    family = load_family(diffusion_files(ModelRef("builtin:stable-diffusion")), torch.device("cpu"))
    pictures = draw(scenes)
    errors = []
    with torch.no_grad():
        for first in range(0, len(scenes), 64):
            pixels = torch.from_numpy(pictures[first : first + 64]).permute(0, 3, 1, 2) / 127.5 - 1
            decoded = family.decode(family.encode_images(pixels, None))
            errors.append((decoded - (pixels + 1) / 2).square().mean((1, 2, 3)))
    return float(-10 * torch.log10(torch.cat(errors).mean()))


def generate_right(asked: list[Scene]) -> tuple[float, float]:
    """Share of right pictures, and the median overlap with the ideal shape, at 30 steps."""
    table = pa.table({"prompt": [item.caption for item in asked]})
    made = Generate(steps=30).load(batch_rows=20)(table)["generated_image"].to_pylist()
    got = [read(np.asarray(decode(picture))) for picture in made]
    right = [reading.caption == item.caption for reading, item in zip(got, asked, strict=True)]
    return float(np.mean(right)), round(float(np.median([reading.overlap for reading in got])), 3)


def caption_exact(scenes: list[Scene]) -> float:
    """Share of captions that equal the scenes' own."""
    table = pa.table({"image": encode_all(draw(scenes))})
    said = Caption().load(batch_rows=64)(table)["caption"].to_pylist()
    return float(np.mean([text == item.caption for text, item in zip(said, scenes, strict=True)]))


def clip_first(scenes: list[Scene]) -> float:
    """Share of pictures to which the scene's own caption is nearest."""
    clip = load_vision(ModelFiles(ModelRef("builtin:clip")), torch.device("cpu"))
    texts, pictures = captions(), torch.from_numpy(draw(scenes)).permute(0, 3, 1, 2)
    with torch.no_grad():
        near = clip.embedded(clip(clip.viewed(pictures))) @ clip.read(texts).T
    return float(np.mean([texts[at] == item.caption for at, item in zip(near.argmax(1), scenes, strict=True)]))


if __name__ == "__main__":
    common.main(measure, __doc__)
