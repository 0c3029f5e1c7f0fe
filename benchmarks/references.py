"""diffusers' own pipelines over the same weights, as one would use them: one picture at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionDiffEditPipeline, StableDiffusionPipeline
from diffusers.pipelines.deprecated.stable_diffusion_variants.pipeline_stable_diffusion_pix2pix_zero import (
    StableDiffusionPix2PixZeroPipeline,
)
from diffusers.utils import logging
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

logging.set_verbosity_error()
logging.disable_progress_bar()


def pipeline(kind: Any, folder: str, **parts: Any) -> Any:
    """A pipeline over a model's folder, with DDIM both ways."""
    made = kind.from_pretrained(
        folder, safety_checker=None, feature_extractor=None, requires_safety_checker=False, **parts
    )
    made.scheduler = DDIMScheduler.from_config(made.scheduler.config)
    if hasattr(made, "inverse_scheduler"):
        made.inverse_scheduler = DDIMInverseScheduler.from_config(made.scheduler.config)
    encode = made.vae.encode
    # These pipelines sample the autoencoder; the built-in one has no distribution, so its latents stand for the sample.
    made.vae.encode = lambda pixels: SimpleNamespace(latent_dist=_certain(encode(pixels).latents))
    made.set_progress_bar_config(disable=True)
    return made


def _certain(latents: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(sample=lambda *_: latents, mode=lambda: latents)


class Pix2PixZero:
    """Inversion with its regularisation, and the edit."""

    def __init__(self, folder: str, steps: int, guidance_scale: float, amount: float) -> None:
        self.pipeline = pipeline(
            StableDiffusionPix2PixZeroPipeline,
            folder,
            inverse_scheduler=None,
            caption_generator=None,
            caption_processor=None,
        )
        self.steps, self.guidance_scale, self.amount = steps, guidance_scale, amount

    def __call__(self, picture: Pixels, caption: str, target: str) -> Pixels:
        inverted = self.pipeline.invert(
            caption,
            image=Image.fromarray(picture),
            num_inference_steps=self.steps,
            guidance_scale=1.0,
            generator=torch.Generator().manual_seed(0),
        ).latents
        source, wanted = self.pipeline.get_embeds([caption]), self.pipeline.get_embeds([target])
        made = self.pipeline(
            caption,
            source_embeds=source,
            target_embeds=wanted,
            latents=inverted,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance_scale,
            cross_attention_guidance_amount=self.amount,
        )
        return np.asarray(made.images[0])


class DiffEdit:
    """Mask, inversion, edit."""

    def __init__(self, folder: str, steps: int, guidance_scale: float, mask_strength: float, threshold: float) -> None:
        self.pipeline = pipeline(StableDiffusionDiffEditPipeline, folder, inverse_scheduler=None)
        self.steps, self.guidance_scale = {"num_inference_steps": steps}, guidance_scale
        self.mask_strength, self.threshold = mask_strength, threshold

    def __call__(self, picture: Pixels, caption: str, target: str) -> tuple[Pixels, NDArray[np.bool_]]:
        image = Image.fromarray(picture)
        mask = self.pipeline.generate_mask(
            image=image,
            source_prompt=caption,
            target_prompt=target,
            mask_encode_strength=self.mask_strength,
            mask_thresholding_ratio=2 * self.threshold,
            guidance_scale=self.guidance_scale,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
            **self.steps,
        )
        inverted = self.pipeline.invert(prompt="", image=image, guidance_scale=1.0, **self.steps).latents
        made = self.pipeline(
            target, mask_image=mask, image_latents=inverted, guidance_scale=self.guidance_scale, **self.steps
        )
        return np.asarray(made.images[0]), mask[0].astype(bool)


class Generate:
    """Text to image."""

    def __init__(self, folder: str, steps: int, guidance_scale: float) -> None:
        self.pipeline = pipeline(StableDiffusionPipeline, folder)
        self.steps, self.guidance_scale = steps, guidance_scale

    def __call__(self, prompt: str) -> Pixels:
        made = self.pipeline(prompt, num_inference_steps=self.steps, guidance_scale=self.guidance_scale)
        return np.asarray(made.images[0])
