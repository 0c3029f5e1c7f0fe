"""Networks that several pipelines are made of."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel, UNet2DModel
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    PreTrainedTokenizerBase,
    T5Config,
    T5EncoderModel,
)

WIDTH = 32
SIDE = 32
"""Pixels of a picture's side."""


def vae(channels: int = 4, blocks: int = 2, **options: Any) -> AutoencoderKL:
    """Pictures of so many channels of latents, each of 2 ** (blocks - 1) pixels a side."""
    return AutoencoderKL(
        block_out_channels=(8,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=channels,
        sample_size=SIDE,
        **options,
    )


def clip_text(tokens: PreTrainedTokenizerBase, kind: Any = CLIPTextModel, **options: Any) -> Any:
    config = {
        "vocab_size": len(tokens),
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "projection_dim": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": tokens.model_max_length,
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
        "pad_token_id": tokens.pad_token_id,
    }
    return kind(CLIPTextConfig(**(config | options)))


def t5(tokens: PreTrainedTokenizerBase, width: int = WIDTH) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(tokens), d_model=width, d_ff=WIDTH, d_kv=8, num_layers=2, num_heads=4)
    )


def clip_vision(kind: Any = CLIPVisionModelWithProjection, **options: Any) -> Any:
    config = {
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "projection_dim": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": 8,
    }
    return kind(CLIPVisionConfig(**(config | options)))


def clip_pictures() -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, do_center_crop=True
    )


def unet(channels: int = 4, **options: Any) -> UNet2DConditionModel:
    config: dict[str, Any] = {
        "sample_size": SIDE // 2,
        "in_channels": channels,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**(config | options))


def unconditional(channels: int = 3, **options: Any) -> UNet2DModel:
    config: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return UNet2DModel(**(config | options))


def ddim() -> DDIMScheduler:
    return DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
