"""Train the built-in InstructPix2Pix model from the trained denoiser (Brooks et al. 2023).

``python -m training.instructor --out FOLDER``, after ``training.denoiser`` into the same folder. The network takes four
more channels, the latents of the picture to edit, whose weights begin at zero; the autoencoder stays as it is. What is
to stay as in the picture is decided while noise is strong, so such timesteps weigh more. A pair is two scenes that
differ in shape, colour or background, and the instruction that leads from one to the other. One example in 20 each
lacks the instruction, the picture, or both.
"""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from operators.models.builtin.reading import read
from operators.models.builtin.scenes import COLOURS, HELD_OUT_SERIES, SHAPES, Scene, draw
from training import common
from training.denoiser import keep, noise_loss, sample

MOST = 10.0
"""Weight that the noise may have where it is strong."""
DROPPED = 0.05
"""Share of examples without instruction, without picture, and without either."""
MOVED = 4.0
"""Pixels to either side that an object stays within where it is said to be in place."""

_WORDINGS = {
    "shape": (
        "change {old} to {new}",
        "change the {old} to a {new}",
        "turn the {old} into a {new}",
        "replace the {old} with a {new}",
        "make it a {new}",
        "{old} to {new}",
    ),
    "colour": (
        "change {old} to {new}",
        "make it {new}",
        "make the {shape} {new}",
        "turn the {old} {shape} {new}",
        "change the {shape} to {new}",
        "{old} to {new}",
    ),
    "background": (
        "change {old} to {new}",
        "make the background {new}",
        "change the background to {new}",
        "change the {old} background to {new}",
        "turn the background {new}",
        "{new} background",
    ),
}


def edit(item: Scene, rng: random.Random) -> tuple[str, Scene]:
    """An instruction and what it makes of a scene: one or two things change, the rest stays where it is."""
    colours = rng.sample([name for name in COLOURS if name not in (item.colour, item.background)], 2)
    new = {
        "shape": rng.choice([name for name in SHAPES if name != item.shape]),
        "colour": colours[0],
        "background": colours[1],
    }
    changed = rng.sample(list(new), rng.choices((1, 2), (0.7, 0.3))[0])
    said = [_wording(what, rng).format(old=getattr(item, what), new=new[what], shape=item.shape) for what in changed]
    return " and ".join(said), replace(item, **{what: new[what] for what in changed})


def _wording(what: str, rng: random.Random) -> str:
    """Half of the time the first, which is what the method ``instruct`` says unless told otherwise."""
    ways = _WORDINGS[what]
    return rng.choices(ways, (len(ways) - 1, *[1] * (len(ways) - 1)))[0]


def build_unet(folder: Path) -> UNet2DConditionModel:
    """The denoiser of a folder, with four more channels that it does not heed yet."""
    given = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    weights = given.state_dict()
    weights["conv_in.weight"] = torch.cat([given.conv_in.weight, torch.zeros_like(given.conv_in.weight)], 1)
    unet = UNet2DConditionModel.from_config(given.config, in_channels=2 * given.config.in_channels)
    unet.load_state_dict(weights)
    return unet


def main() -> None:
    """Train on fresh pairs at every step; each save makes 64 edits and counts the right ones."""
    plan = common.settings(steps=2000, batch=32, learning_rate=6e-4)
    denoiser = plan.out / "stable-diffusion"
    parts = StableDiffusionPipeline.from_pretrained(denoiser, torch_dtype=torch.float32)
    tokens, scheduler = parts.tokenizer, parts.scheduler
    vae = parts.vae.to(plan.device).requires_grad_(False)
    text_encoder = parts.text_encoder.to(plan.device)
    unet = build_unet(denoiser).to(plan.device, memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        rng = random.Random(plan.seed * 1_000_003 + step)
        before = common.scenes(step * plan.batch, plan.batch)
        instructions, after = zip(*(edit(item, rng) for item in before), strict=True)
        place = torch.rand(plan.batch)
        told = [text if at >= 2 * DROPPED else "" for text, at in zip(instructions, place, strict=True)]
        shown = ((place < DROPPED) | (place >= 3 * DROPPED)).view(-1, 1, 1, 1).to(plan.device)
        ids = tokens(told, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.autocast(plan.device.type, torch.bfloat16):
            with torch.no_grad():
                picture = vae.encode(common.pixels(before, plan.device)).latents.float() * shown
                latents = vae.encode(common.pixels(list(after), plan.device)).latents.float()
            text = text_encoder(ids.to(plan.device)).last_hidden_state

            def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
                given = torch.cat([noisy, picture], 1).to(memory_format=torch.channels_last)
                return unet(given, timesteps, text).sample

            return noise_loss(scheduler, latents * vae.config.scaling_factor, predict, MOST)

    def save(averaged: dict[str, nn.Module]) -> None:
        pipeline = StableDiffusionInstructPix2PixPipeline(
            vae=vae,
            text_encoder=copy.deepcopy(averaged["text_encoder"]),
            tokenizer=tokens,
            unet=copy.deepcopy(averaged["unet"]),
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        rng = random.Random(0)
        given = common.scenes(0, 64, HELD_OUT_SERIES)
        instructions, wanted = zip(*(edit(item, rng) for item in given), strict=True)
        shown = [Image.fromarray(picture) for picture in draw(given)]
        asked = {"image": shown, "num_inference_steps": 20, "image_guidance_scale": 1.5}
        got = [read(picture) for picture in sample(pipeline, list(instructions), **asked)]
        right = [(reading, item) for reading, item in zip(got, wanted, strict=True) if reading.caption == item.caption]
        still = sum(abs(reading.x - item.x) < MOVED > abs(reading.y - item.y) for reading, item in right)
        print(f"held-out edits right {len(right) / 64:.3f}, and in place {still / 64:.3f}", flush=True)
        keep(pipeline, plan.out / "instruct-pix2pix")
        vae.float()

    common.train("instructor", {"unet": unet, "text_encoder": text_encoder}, loss, plan, save)


if __name__ == "__main__":
    main()
