"""Models of the real classes, tiny, with random weights."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
)

from training import language

WIDTH = 32


def autoencoder_kl() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
    )


def autoencoder_tiny() -> AutoencoderTiny:
    torch.manual_seed(0)
    return AutoencoderTiny(
        encoder_block_out_channels=(16, 16, 16),
        decoder_block_out_channels=(16, 16, 16),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    )


PIPELINES = {
    4: StableDiffusionPipeline,
    8: StableDiffusionInstructPix2PixPipeline,
    9: StableDiffusionInpaintPipeline,
}


def stable_diffusion(folder: Path, vae: AutoencoderKL | AutoencoderTiny, channels: int = 4) -> Path:
    torch.manual_seed(0)
    tokens = language.prompt_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=language.PROMPT_TOKENS,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    pipeline = PIPELINES[channels](
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokens,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def blip(folder: Path) -> Path:
    torch.manual_seed(0)
    tokens = language.caption_tokenizer()
    half = [0.5, 0.5, 0.5]
    images = BlipImageProcessorPil(size={"height": 32, "width": 32}, image_mean=half, image_std=half)
    config = BlipConfig(
        text_config={
            "vocab_size": len(tokens),
            "hidden_size": WIDTH,
            "encoder_hidden_size": WIDTH,
            "intermediate_size": WIDTH,
            "projection_dim": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": language.PROMPT_TOKENS,
            "bos_token_id": tokens.bos_token_id,
            "eos_token_id": tokens.sep_token_id,
            "pad_token_id": tokens.pad_token_id,
            "sep_token_id": tokens.sep_token_id,
            "initializer_range": 0.3,
        },
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
            "initializer_range": 0.3,
        },
        projection_dim=WIDTH,
        image_text_hidden_size=WIDTH,
    )
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(images, tokens).save_pretrained(folder)
    return folder


def _slow(unet: UNet2DConditionModel) -> None:
    """Let the answer be of the size of noise and change slowly with the latents, as a trained network's does."""
    unet.conv_out.weight.data /= 4
    unet.conv_out.bias.data.normal_()


def text_encoder(kind: Any, tokens: Any, **options: Any) -> Any:
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=language.PROMPT_TOKENS,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
            pad_token_id=tokens.pad_token_id,
            **options,
        )
    )


def stable_diffusion_2(folder: Path) -> Path:
    """Velocity, linear projections, and a text encoder as OpenCLIP has it."""
    torch.manual_seed(0)
    tokens = language.prompt_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=(2, 4),
        norm_num_groups=4,
        use_linear_projection=True,
    )
    _slow(unet)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder_kl(),
        text_encoder=text_encoder(CLIPTextModel, tokens, hidden_act="gelu"),
        tokenizer=tokens,
        unet=unet,
        scheduler=DDIMScheduler(
            clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type="v_prediction"
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def stable_diffusion_xl(folder: Path) -> Path:
    """Two text encoders, and a network that is told the picture's size."""
    torch.manual_seed(0)
    tokens = language.prompt_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=2 * WIDTH,
        attention_head_dim=(2, 4),
        norm_num_groups=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
    )
    _slow(unet)
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder_kl(),
        text_encoder=text_encoder(CLIPTextModel, tokens),
        text_encoder_2=text_encoder(CLIPTextModelWithProjection, tokens, hidden_act="gelu"),
        tokenizer=tokens,
        tokenizer_2=tokens,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder
