"""Vision transformers of the real classes, tiny, with random weights."""

from pathlib import Path

import torch
from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

SIDE = 32


def vit(folder: Path) -> Path:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=24, intermediate_size=48, num_hidden_layers=3, num_attention_heads=3, image_size=SIDE, patch_size=8
    )
    model = ViTModel(config)
    # Weights as small as at the start of a training would make all keys alike.
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn(weight.shape)
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder
