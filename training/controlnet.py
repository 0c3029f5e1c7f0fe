"""Train the built-in ControlNet, which steers the trained denoiser by outlines of objects (Zhang et al. 2023).

``python -m training.controlnet --out FOLDER``, after ``training.denoiser`` into the same folder.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ControlNetModel, DiffusionPipeline, StableDiffusionControlNetPipeline, UNet2DConditionModel
from torch import Tensor, nn

from training import common, steering


def build(unet: UNet2DConditionModel) -> ControlNetModel:
    """A copy of the denoiser's way down that adds nothing yet, with an encoder of pictures to the size of latents."""
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 64))


def main() -> None:
    """Train, as told in :mod:`training.steering`."""
    plan = common.settings(steps=800, batch=32, learning_rate=1e-3)
    parts = steering.frozen(plan)
    network = build(parts.unet).to(plan.device, memory_format=torch.channels_last)

    def inside(noisy: Tensor, timesteps: Tensor, text: Tensor, shown: Tensor) -> dict[str, Any]:
        down, middle = network(noisy, timesteps, text, shown, return_dict=False)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    def pipeline(averaged: nn.Module) -> DiffusionPipeline:
        return StableDiffusionControlNetPipeline(**steering.beside(parts), controlnet=averaged)

    steering.train("controlnet", network, inside, pipeline, parts, plan)


if __name__ == "__main__":
    main()
