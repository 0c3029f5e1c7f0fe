"""Adapters with random weights, and what diffusers' pipelines make with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from operators import Generate
from operators.diffusion.family import StableDiffusion
from tests.operators.floats import floats

NEAR = 1e-4
FAR = 2e-3
"""An effect of the control that is far above what two ways to compute the same differ by."""

GIVEN: dict[str, Any] = {"negative_prompt": "green", "guidance_scale": 6.0}
ROW = pa.table({"x": [0]})


def pipeline(folder: Path, xl: bool = False) -> Any:
    kind = StableDiffusionXLPipeline if xl else StableDiffusionPipeline
    loaded = kind.from_pretrained(folder, **({} if xl else {"safety_checker": None}))
    loaded.set_progress_bar_config(disable=True)
    return loaded


def made(pipe: Any, **given: Any) -> torch.Tensor:
    """What a pipeline makes, as pictures ``(1, 3, H, W)`` in 0..1."""
    generator = torch.Generator().manual_seed(7)
    shown = pipe(generator=generator, output_type="np", num_inference_steps=4, **given).images
    return torch.from_numpy(shown).permute(0, 3, 1, 2)


def plain(folder: Path, **given: Any) -> Generate:
    return Generate(model=str(folder), steps=4, seed=7, **GIVEN, **given)


def controlled(folder: Path, *controls: Any, **given: Any) -> Generate:
    return Generate(model=str(folder), steps=4, seed=7, controls=controls, **GIVEN, **given)


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def one(spec: Generate) -> torch.Tensor:
    return floats(spec, ROW)


def state(family: StableDiffusion) -> dict[str, int]:
    """Where every parameter's values lie."""
    networks = [family.unet, *(encoder for _, encoder in family.text_encoders)]
    return {f"{at}.{name}": each.data_ptr() for at, net in enumerate(networks) for name, each in net.named_parameters()}
