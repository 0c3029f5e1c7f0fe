"""Controlled pictures: ours in a batch of eight against diffusers' own pipelines, one at a time, on the same weights.

sega, attend_and_excite, sag, panorama, controlnet, t2i_adapter, depth2img, instruct
                      how many times faster a picture is made, with `precision: bfloat16`
..._single            the same with `precision: float32`
..._seconds           of one picture, ours in bfloat16
..._theirs            of one picture, diffusers' in float32, as its pipelines load weights unless told otherwise

Both take the same steps with the same settings, on the same device, in one process, in turns. Panoramas are four
times as wide as high. The models of depth2img and instruct are the built-in one, with channels that it does not heed.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import pyarrow as pa
import torch
from diffusers import (
    ControlNetModel,
    SemanticStableDiffusionPipeline,
    StableDiffusionAdapterPipeline,
    StableDiffusionAttendAndExcitePipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionDepth2ImgPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPanoramaPipeline,
    StableDiffusionSAGPipeline,
    T2IAdapter,
    UNet2DConditionModel,
)
from PIL import Image
from references import pipeline

from operators import Generate, Instruct, Spec
from operators.images import encode_all
from operators.models.builtin.scenes import HELD_OUT_SERIES, SIZE, draw, masks, outlines, scene
from operators.models.loading import ModelFiles, Precision, diffusion_files
from operators.models.ref import ModelRef

BATCH = 8
GUIDANCE, STRENGTH, WIDE = 3.0, 0.8, 4
CONCEPT: dict[str, Any] = {"guidance_scale": 8.0, "warmup": 5, "threshold": 0.8}
THRESHOLDS = {0: 0.05, 10: 0.5, 20: 0.8}
ALTERED, SAG_SCALE, STRIDE = 15, 0.75, 2

Ours = Callable[[Precision], Callable[[pa.Table], pa.Table]]
Theirs = Callable[[int], Any]


class Panorama(StableDiffusionPanoramaPipeline):
    """diffusers takes every model's latents for 8 pixels and its windows for 64 latents."""

    def get_views(self, height: int, width: int, **given: Any) -> Any:
        side = self.unet.config.sample_size
        scale = 8 // self.vae_scale_factor
        return super().get_views(scale * height, scale * width, window_size=side, stride=STRIDE, **given)


def measure(quick: bool) -> dict[str, Any]:
    """The ratios of medians over turns."""
    steps, turns, alone = (5, 1, 2) if quick else (50, 2, 3)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        scenes = [scene(index, HELD_OUT_SERIES) for index in range(BATCH)]
        table = pa.table(
            {
                "prompt": [item.caption for item in scenes],
                "words": [f"{item.colour},{item.shape}" for item in scenes],
                "image": encode_all(draw(scenes)),
                "depth": encode_all(np.repeat(masks(scenes)[..., None], 3, 3).astype(np.uint8) * 255),
                "condition_image": encode_all(outlines(masks(scenes))),
            }
        )
        for name, (ours, theirs) in methods(Path(folder), steps).items():
            fast, single = ours(Precision.BFLOAT16), ours(Precision.FLOAT32)
            times = [
                (timed(fast, table) / BATCH, timed(single, table) / BATCH, [timed(theirs, row) for row in range(alone)])
                for _ in range(turns)
            ]
            seconds, in_single, others = (float(np.median(taken)) for taken in zip(*times, strict=True))
            figures[name] = round(others / seconds, 2)
            figures[f"{name}_single"] = round(others / in_single, 2)
            figures[f"{name}_seconds"] = round(seconds, 3)
            figures[f"{name}_theirs"] = round(others, 3)
    return figures | {"steps": steps, "batch": BATCH, "threads": torch.get_num_threads()}


def methods(folder: Path, steps: int) -> dict[str, tuple[Ours, Theirs]]:
    """Ours of every method, by precision, and theirs, which takes the number of a scene."""
    builtin = str(diffusion_files(ModelRef("builtin:stable-diffusion")).folder)
    depth, instruct = (widened(Path(builtin), folder / str(more), more) for more in (1, 4))
    controlnet, adapter = (
        str(ModelFiles(ModelRef(name)).folder) for name in ("builtin:controlnet", "builtin:t2i-adapter")
    )
    scenes = [scene(index, HELD_OUT_SERIES) for index in range(BATCH)]
    shown = [Image.fromarray(picture) for picture in draw(scenes)]
    told = [Image.fromarray(picture) for picture in outlines(masks(scenes))]
    near = torch.from_numpy(masks(scenes)).float()
    common_options: dict[str, Any] = {"steps": steps, "guidance_scale": GUIDANCE}
    their_options: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": GUIDANCE}

    def ours(control: Any, **options: Any) -> Ours:
        return loaded(Generate.model_validate({**common_options, "controls": [control], **options}))

    def theirs(kind: Any, given: Callable[[int], dict[str, Any]], source: str = builtin, **parts: Any) -> Theirs:
        made = pipeline(kind, source, **parts)
        return lambda row: made(scenes[row].caption, **their_options, **given(row))

    concept = {
        "editing_prompt": ["blue"],
        "reverse_editing_direction": [False],
        "edit_guidance_scale": [CONCEPT["guidance_scale"]],
        "edit_warmup_steps": [CONCEPT["warmup"]],
        "edit_threshold": [CONCEPT["threshold"]],
    }
    maps = (SIZE // 8, SIZE // 8)
    excite = {"max_iter_to_alter": min(ALTERED, steps), "thresholds": THRESHOLDS}
    wide = {"width": WIDE * SIZE, "height": SIZE}
    return {
        "sega": (
            ours({"sega": {"concepts": [{"prompt": "blue", **CONCEPT}]}}),
            theirs(SemanticStableDiffusionPipeline, lambda _: concept),
        ),
        "attend_and_excite": (
            ours({"attend_and_excite": {"words": {"column": "words"}, **excite}}),
            # Of "a red circle on ...", the colour and the shape.
            theirs(
                StableDiffusionAttendAndExcitePipeline,
                lambda _: {"token_indices": [2, 3], "attn_res": maps, **excite},
            ),
        ),
        "sag": (
            ours({"sag": {"scale": SAG_SCALE}}),
            theirs(StableDiffusionSAGPipeline, lambda _: {"sag_scale": SAG_SCALE}),
        ),
        "panorama": (ours({"panorama": {"stride": STRIDE}}, **wide), theirs(Panorama, lambda _: wide)),
        "controlnet": (
            ours({"controlnet": {"model": "builtin:controlnet"}}),
            theirs(
                StableDiffusionControlNetPipeline,
                lambda row: {"image": told[row]},
                controlnet=ControlNetModel.from_pretrained(controlnet),
            ),
        ),
        "t2i_adapter": (
            ours({"t2i_adapter": {"model": "builtin:t2i-adapter"}}),
            theirs(
                StableDiffusionAdapterPipeline,
                lambda row: {"image": told[row]},
                adapter=T2IAdapter.from_pretrained(adapter),
            ),
        ),
        "depth2img": (
            ours({"depth2img": {"depth": "depth"}}, model=depth, image="image", strength=STRENGTH),
            theirs(
                StableDiffusionDepth2ImgPipeline,
                lambda row: {"image": shown[row], "depth_map": near[row : row + 1], "strength": STRENGTH},
                depth,
                depth_estimator=None,
            ),
        ),
        "instruct": (
            loaded(Instruct(model=ModelRef(instruct), target_prompt={"column": "prompt"}, **common_options)),
            theirs(StableDiffusionInstructPix2PixPipeline, lambda row: {"image": shown[row]}, instruct),
        ),
    }


def loaded(spec: Spec) -> Ours:
    """The step at either precision."""
    return lambda precision: spec.model_copy(update={"precision": precision}).load(batch_rows=BATCH)


def widened(source: Path, target: Path, more: int) -> str:
    """A copy of a model whose network takes ``more`` channels, which have no effect."""
    shutil.copytree(source, target)
    given = UNet2DConditionModel.from_pretrained(source / "unet")
    weights = given.state_dict()
    first = weights["conv_in.weight"]
    weights["conv_in.weight"] = torch.cat([first, first.new_zeros(len(first), more, *first.shape[2:])], 1)
    unet = UNet2DConditionModel.from_config(given.config, in_channels=given.config.in_channels + more)
    unet.load_state_dict(weights)
    unet.save_pretrained(target / "unet")
    return str(target)


def timed(run: Callable[[Any], Any], given: Any) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    run(given)
    return time.perf_counter() - began


if __name__ == "__main__":
    common.main(measure, __doc__)
