"""Train the built-in denoiser and its text encoder on the trained autoencoder's latents.

``python -m training.denoiser --out FOLDER``, after ``training.autoencoder`` into the same folder. The loss is the
squared error of the predicted noise, weighted by min(SNR, 5) / SNR (Hang et al. 2023, eq. 8). The noise schedule is
DDPM's linear one (Ho et al. 2020): at 16 x 16 latents Stable Diffusion's own would leave a picture's mean colour
visible in what should be pure noise. The result is a whole Stable Diffusion folder.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from operators.models.builtin.reading import read
from operators.models.builtin.scenes import HELD_OUT_SERIES
from training import common, language

WIDTH = 96
SNR_CEILING = 5.0


def build_unet() -> UNet2DConditionModel:
    """An untrained denoiser: convolutions at 16 x 16, attention at 8 x 8 and 4 x 4."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 128, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_text_encoder(tokens: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text encoder."""
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=language.PROMPT_TOKENS,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    return CLIPTextModel(config)


def build_scheduler() -> DDIMScheduler:
    """The noise schedule, sampled as Stable Diffusion 1.x is."""
    return DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def noise_loss(
    scheduler: DDIMScheduler, latents: Tensor, predict: Callable[[Tensor, Tensor], Tensor], most: float = 1.0
) -> Tensor:
    """Error of the noise predicted of noised latents ``(n, c, h, w)``, at timesteps ``(n,)`` all over.

    It is weighted by min(SNR, 5) / SNR; where noise is so strong that SNR is below 1, by 1 / SNR up to ``most``.
    """
    rows, alphas = len(latents), scheduler.alphas_cumprod.to(latents.device)
    noise = torch.randn(latents.shape).to(latents.device)
    spread = (torch.rand(1) + torch.arange(rows) / rows) % 1
    timesteps = (spread * len(alphas)).long().to(latents.device)
    predicted = predict(scheduler.add_noise(latents, noise, timesteps), timesteps).float()
    snr = alphas[timesteps] / (1 - alphas[timesteps])
    weight = (snr.clamp(1, SNR_CEILING) / snr).clamp(max=most)
    return (weight * (predicted - noise).square().mean((1, 2, 3))).mean()


def sample(pipeline: DiffusionPipeline, prompts: list[str], **given: object) -> NDArray[np.uint8]:
    """A picture of each prompt, ``(n, 64, 64, 3)`` RGB, by 30 steps under guidance of 3, always of one noise."""
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn((len(prompts), 4, 16, 16), generator=torch.Generator().manual_seed(0)).to(pipeline.device)
    asked = {"num_inference_steps": 30, "guidance_scale": 3.0, "latents": noise, "output_type": "np", **given}
    pictures: NDArray[np.float32] = pipeline(prompts, **asked).images
    return (pictures * 255).round().astype(np.uint8)


def keep(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Store a whole Stable Diffusion folder in half precision; the pipeline's networks are in half precision then."""
    pipeline.to(torch.float16).save_pretrained(folder)
    common.amend(folder / "vae" / "config.json", block_out_channels=None, _name_or_path=None)
    common.amend(folder / "text_encoder" / "config.json", dtype="float32")
    common.amend(folder / "unet" / "config.json", _name_or_path=None)


def main() -> None:
    """Train on fresh scenes at every step; each save draws 64 pictures and counts the right ones."""
    plan = common.settings(steps=6000, batch=32, learning_rate=8e-4)
    tokens = language.prompt_tokenizer()
    scheduler = build_scheduler()
    vae = AutoencoderTiny.from_pretrained(plan.out / "vae").to(plan.device).requires_grad_(False)
    unet, text_encoder = build_unet(), build_text_encoder(tokens)
    unet.to(plan.device, memory_format=torch.channels_last)
    text_encoder.to(plan.device)

    def loss(step: int) -> Tensor:
        rng = random.Random(plan.seed * 1_000_003 + step)
        items = common.scenes(step * plan.batch, plan.batch)
        prompts = [language.prompt(item, rng) for item in items]
        ids = tokens(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.autocast(plan.device.type, torch.bfloat16):
            with torch.no_grad():
                latents = vae.encode(common.pixels(items, plan.device)).latents.float()
                latents = latents * vae.config.scaling_factor
            text = text_encoder(ids.to(plan.device)).last_hidden_state

            def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
                return unet(noisy.to(memory_format=torch.channels_last), timesteps, text).sample

            return noise_loss(scheduler, latents, predict)

    def save(averaged: dict[str, nn.Module]) -> None:
        pipeline = StableDiffusionPipeline(
            vae=vae,
            text_encoder=averaged["text_encoder"],
            tokenizer=tokens,
            unet=averaged["unet"],
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        wanted = common.scenes(0, 64, HELD_OUT_SERIES)
        got = [read(picture) for picture in sample(pipeline, [item.caption for item in wanted])]
        right = sum(reading.caption == item.caption for reading, item in zip(got, wanted, strict=True))
        print(f"held-out pictures right {right / 64:.3f}", flush=True)
        keep(pipeline, plan.out / "stable-diffusion")
        for module in (vae, *averaged.values()):
            module.float()

    common.train("denoiser", {"unet": unet, "text_encoder": text_encoder}, loss, plan, save)


if __name__ == "__main__":
    main()
