"""Train the built-in T2I-Adapter, which steers the trained denoiser by outlines of objects (Mou et al. 2023).

``python -m training.t2i_adapter --out FOLDER``, after ``training.denoiser`` into the same folder.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionAdapterPipeline, T2IAdapter, UNet2DConditionModel
from torch import Tensor, nn

from training import common, steering


def build(unet: UNet2DConditionModel) -> T2IAdapter:
    """An untrained adapter.

    The denoiser's first block has no attention and takes its features after it has halved the picture. So the
    first two features are of one size, which is what the adapters for Stable Diffusion XL have.
    """
    return T2IAdapter(
        channels=list(unet.config.block_out_channels),
        num_res_blocks=1,
        downscale_factor=8,
        adapter_type="full_adapter_xl",
    )


def main() -> None:
    """Train, as told in :mod:`training.steering`."""
    plan = common.settings(steps=800, batch=32, learning_rate=1e-3)
    parts = steering.frozen(plan)
    network = build(parts.unet).to(plan.device, memory_format=torch.channels_last)

    def inside(noisy: Tensor, timesteps: Tensor, text: Tensor, shown: Tensor) -> dict[str, Any]:  # noqa: ARG001
        return {"down_intrablock_additional_residuals": network(shown)}

    def pipeline(averaged: nn.Module) -> DiffusionPipeline:
        return StableDiffusionAdapterPipeline(**steering.beside(parts), adapter=averaged)

    steering.train("t2i-adapter", network, inside, pipeline, parts, plan)


if __name__ == "__main__":
    main()
