"""SDXL and the flow models."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusers import FlowMatchEulerDiscreteScheduler
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3Config,
    Qwen3Model,
)

from tests.operators.tinies import parts, words
from tests.operators.tinies.parts import WIDTH

_ROPE = (4, 6, 6)


def stable_diffusion_xl() -> Any:
    tokens = words.clip()
    unet = parts.unet(
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=2 * WIDTH,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=parts.vae(),
        text_encoder=parts.clip_text(tokens),
        text_encoder_2=parts.clip_text(tokens, CLIPTextModelWithProjection, hidden_act="gelu"),
        tokenizer=tokens,
        tokenizer_2=tokens,
        unet=unet,
        scheduler=parts.ddim(),
        add_watermarker=False,
    )


def stable_diffusion_3() -> Any:
    clip, t5 = words.clip(), words.t5()
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=16,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=32,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=parts.vae(16, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=parts.clip_text(clip, CLIPTextModelWithProjection),
        tokenizer=clip,
        text_encoder_2=parts.clip_text(clip, CLIPTextModelWithProjection, hidden_act="gelu"),
        tokenizer_2=clip,
        text_encoder_3=parts.t5(t5, 2 * WIDTH),
        tokenizer_3=t5,
    )


def flux(channels: int = 16) -> Any:
    clip, t5 = words.clip(), words.t5()
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=channels,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=_ROPE,
        guidance_embeds=True,
    )
    return diffusers.FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=parts.vae(shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=parts.clip_text(clip, CLIPTextModel),
        tokenizer=clip,
        text_encoder_2=parts.t5(t5),
        tokenizer_2=t5,
    )


def flux_fill() -> Any:
    """Latents, those of the masked picture, and the mask, which has a channel for every pixel of a latent."""
    made = flux(2 * 16 + 4 * 2 * 2)
    return diffusers.FluxFillPipeline(
        **{name: part for name, part in made.components.items() if name not in ("image_encoder", "feature_extractor")}
    )


def _qwen_text(tokens: Any) -> Any:
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokens),
            "hidden_size": WIDTH,
            "intermediate_size": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6},
            "bos_token_id": None,
            "eos_token_id": tokens.convert_tokens_to_ids("<|im_end|>"),
            "pad_token_id": tokens.pad_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": WIDTH,
            "intermediate_size": WIDTH,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "patch_size": 14,
            "fullatt_block_indexes": [1],
            "window_size": 112,
        },
        image_token_id=tokens.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokens.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokens.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokens.convert_tokens_to_ids("<|vision_end|>"),
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def _qwen_parts() -> dict[str, Any]:
    tokens = words.qwen()
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=_ROPE,
    )
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "vae": vae,
        "text_encoder": _qwen_text(tokens),
        "tokenizer": tokens,
        "transformer": transformer,
    }


def qwen_image() -> Any:
    return diffusers.QwenImagePipeline(**_qwen_parts())


def qwen_image_edit() -> Any:
    made = _qwen_parts()
    least = 56 * 56
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessorPil(size={"shortest_edge": least, "longest_edge": least}),
        made["tokenizer"],
        Qwen2VLVideoProcessor(),
        chat_template=made["tokenizer"].chat_template,
    )
    return diffusers.QwenImageEditPipeline(processor=processor, **made)


def z_image() -> Any:
    tokens = words.qwen()
    text = Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokens),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=1024,
        )
    )
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=WIDTH,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=list(_ROPE),
        axes_lens=[1024, 64, 64],
    )
    return diffusers.ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=parts.vae(shift_factor=0.06),
        text_encoder=text,
        tokenizer=tokens,
        transformer=transformer,
    )
