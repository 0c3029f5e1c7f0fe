"""Train the built-in autoencoder: 64 x 64 pictures to 4 x 16 x 16 latents and back.

``python -m training.autoencoder --out FOLDER``. The network is diffusers' AutoencoderTiny, which has no normalisation
layers: group normalisation hides flat colours, and flat colours are most of a scene.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn
from torch.nn import functional

from operators.models.builtin.scenes import HELD_OUT_SERIES
from training import common

LATENT_NOISE = 0.1
"""Deviation of the noise that the decoder learns to bear, so that a denoiser's small errors stay small."""


def build() -> AutoencoderTiny:
    """An untrained autoencoder."""
    return AutoencoderTiny(
        latent_channels=4,
        encoder_block_out_channels=(32, 32, 32),
        decoder_block_out_channels=(32, 32, 32),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        scaling_factor=1.0,
    )


def main() -> None:
    """Train, then measure the latents' deviation and store it as the scaling factor."""
    plan = common.settings(steps=3000, batch=32, learning_rate=2e-3)
    vae = build().to(plan.device, memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        pictures = common.pixels(common.scenes(step * plan.batch, plan.batch), plan.device)
        with torch.autocast(plan.device.type, torch.bfloat16):
            latents = vae.encode(pictures.to(memory_format=torch.channels_last)).latents.float()
            decoded = vae.decode(latents + LATENT_NOISE * torch.randn_like(latents)).sample.float()
        spread = (latents.mean((0, 2, 3)).square() + (latents.var((0, 2, 3)) - 1).square()).mean()
        error = decoded - pictures
        return error.square().mean() + 0.1 * error.abs().mean() + 1e-3 * spread

    def save(averaged: dict[str, nn.Module]) -> None:
        model = averaged["vae"]
        held_out = common.pixels(common.scenes(0, 256, HELD_OUT_SERIES), plan.device)
        with torch.no_grad():
            latents = model.encode(held_out).latents
            decoded = model.decode(latents).sample.clamp(-1, 1)
        model.register_to_config(scaling_factor=round(float(1 / latents.std()), 4))
        psnr = -10 * torch.log10(functional.mse_loss(decoded, held_out) / 4)
        print(f"held-out PSNR {psnr:.2f} dB, latents' deviation {latents.std():.3f}", flush=True)
        model.to(memory_format=torch.contiguous_format).half().save_pretrained(plan.out / "vae")
        common.amend(plan.out / "vae" / "config.json", block_out_channels=None)
        model.float()

    common.train("vae", {"vae": vae}, loss, plan, save)


if __name__ == "__main__":
    main()
