"""What the recipes share that train a network beside the frozen denoiser, to steer it by outlines of objects.

Where an object is is decided while noise is strong, so such timesteps weigh more.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from PIL import Image
from torch import Tensor, nn

from operators.models.builtin.reading import object_mask, read
from operators.models.builtin.scenes import HELD_OUT_SERIES, draw, masks, outlines
from training import common, language
from training.denoiser import noise_loss, sample

MOST = 10.0
"""Weight that the noise may have where it is strong."""


def frozen(plan: common.Settings) -> StableDiffusionPipeline:
    """The trained denoiser with its parts, which learn nothing more."""
    folder = plan.out / "stable-diffusion"
    parts = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32).to(plan.device)
    for network in (parts.vae, parts.text_encoder, parts.unet):
        network.requires_grad_(False)
    parts.unet.to(memory_format=torch.channels_last)
    return parts


def train(
    name: str,
    network: nn.Module,
    inside: Callable[[Tensor, Tensor, Tensor, Tensor], dict[str, Any]],
    pipeline: Callable[..., DiffusionPipeline],
    parts: StableDiffusionPipeline,
    plan: common.Settings,
) -> None:
    """Train on fresh scenes at every step; each save draws 64 pictures and tells how well they fill their outlines.

    Args:
        name: of the network's folder.
        network: to train.
        inside: what it gives the denoiser as further arguments, of noisy latents, timesteps, encoded text, and
            outlines ``(n, 3, 64, 64)`` in 0..1.
        pipeline: makes the pipeline that generates with a network.
        parts: the denoiser with its parts.
        plan: how long and where.
    """

    def loss(step: int) -> Tensor:
        rng = random.Random(plan.seed * 1_000_003 + step)
        items = common.scenes(step * plan.batch, plan.batch)
        prompts = [language.prompt(item, rng) for item in items]
        ids = parts.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        shown = common.as_tensor(outlines(masks(items)), plan.device) / 2 + 0.5
        with torch.autocast(plan.device.type, torch.bfloat16):
            with torch.no_grad():
                latents = parts.vae.encode(common.as_tensor(draw(items), plan.device)).latents.float()
                text = parts.text_encoder(ids.to(plan.device)).last_hidden_state

            def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
                noisy = noisy.to(memory_format=torch.channels_last)
                return parts.unet(noisy, timesteps, text, **inside(noisy, timesteps, text, shown)).sample

            return noise_loss(parts.scheduler, latents * parts.vae.config.scaling_factor, predict, MOST)

    def save(averaged: dict[str, nn.Module]) -> None:
        network = copy.deepcopy(averaged["network"])
        wanted = common.scenes(0, 64, HELD_OUT_SERIES)
        true = masks(wanted)
        pictures = sample(
            pipeline(network), [item.caption for item in wanted], image=[Image.fromarray(o) for o in outlines(true)]
        )
        found = np.stack([object_mask(picture) for picture in pictures])
        overlap = ((found & true).sum((1, 2)) / (found | true).sum((1, 2))).mean()
        right = sum(read(picture).caption == item.caption for picture, item in zip(pictures, wanted, strict=True))
        print(f"held-out overlap with the outlines {overlap:.3f}, pictures right {right / 64:.3f}", flush=True)
        network.to(memory_format=torch.contiguous_format).half().save_pretrained(plan.out / name)

    common.train(name, {"network": network}, loss, plan, save)


def beside(parts: StableDiffusionPipeline) -> dict[str, Any]:
    """The parts as arguments of another pipeline."""
    kept = {name: getattr(parts, name) for name in ("vae", "text_encoder", "tokenizer", "unet", "scheduler")}
    return {**kept, "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
