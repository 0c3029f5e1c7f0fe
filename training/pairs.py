"""Train the built-in model of two objects from the trained denoiser.

``python -m training.pairs --out FOLDER``, after ``training.denoiser`` into the same folder. Of the examples a quarter
has one object. It is not trained to the end: a model that leaves an object out now and then is what shows that a way to
keep it in works.
"""

from __future__ import annotations

import copy
import random

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from operators.models.builtin.pairs import draw_pairs, pair
from operators.models.builtin.reading import read_both, shows
from operators.models.builtin.scenes import HELD_OUT_SERIES, TRAINING_SERIES, draw
from training import common, language
from training.denoiser import keep, noise_loss, sample

MOST = 5.0
"""Weight that the noise may have where it is strong: how many objects there are and where is decided then."""


def main() -> None:
    """Train on fresh scenes at every step; each save draws 64 pictures and counts those with both objects."""
    plan = common.settings(steps=1500, batch=32, learning_rate=6e-4)
    parts = StableDiffusionPipeline.from_pretrained(plan.out / "stable-diffusion", torch_dtype=torch.float32)
    vae = parts.vae.to(plan.device).requires_grad_(False)
    text_encoder = parts.text_encoder.to(plan.device)
    unet = parts.unet.to(plan.device, memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        rng = random.Random(plan.seed * 1_000_003 + step)
        single, double = plan.batch // 4, plan.batch - plan.batch // 4
        ones = common.scenes(step * single, single)
        twos = [pair(index, TRAINING_SERIES) for index in range(step * double, (step + 1) * double)]
        prompts = [language.prompt(item, rng) for item in ones] + [language.pair_prompt(item, rng) for item in twos]
        ids = parts.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        pictures = common.as_tensor(np.concatenate([draw(ones), draw_pairs(twos)]), plan.device)
        with torch.autocast(plan.device.type, torch.bfloat16):
            with torch.no_grad():
                latents = vae.encode(pictures).latents.float() * vae.config.scaling_factor
            text = text_encoder(ids.to(plan.device)).last_hidden_state
            # The timesteps go evenly over the rows: in order, the rows of one object would have the first of them.
            order = torch.randperm(plan.batch)
            latents, text = latents[order], text[order]

            def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
                return unet(noisy.to(memory_format=torch.channels_last), timesteps, text).sample

            return noise_loss(parts.scheduler, latents, predict, MOST)

    def save(averaged: dict[str, nn.Module]) -> None:
        pipeline = StableDiffusionPipeline(
            vae=copy.deepcopy(vae),
            text_encoder=copy.deepcopy(averaged["text_encoder"]),
            tokenizer=parts.tokenizer,
            unet=copy.deepcopy(averaged["unet"]),
            scheduler=parts.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        wanted = [pair(index, HELD_OUT_SERIES) for index in range(64)]
        got = [read_both(picture) for picture in sample(pipeline, [item.caption for item in wanted])]
        both = sum(shows(seen, item.first, item.second) for seen, item in zip(got, wanted, strict=True))
        print(f"held-out pictures with both objects {both / 64:.3f}", flush=True)
        keep(pipeline, plan.out / "stable-diffusion-pairs")

    common.train("pairs", {"unet": unet, "text_encoder": text_encoder}, loss, plan, save)


if __name__ == "__main__":
    main()
