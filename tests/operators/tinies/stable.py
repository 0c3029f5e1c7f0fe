"""Stable Diffusion 1 and 2, and what was built on them."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusers import DDPMScheduler, EulerDiscreteScheduler
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessorPil,
)

from tests.operators.tinies import parts, words
from tests.operators.tinies.parts import SIDE, WIDTH

NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def _texts() -> dict[str, Any]:
    tokens = words.clip()
    return {"tokenizer": tokens, "text_encoder": parts.clip_text(tokens)}


def stable_diffusion(channels: int = 4) -> Any:
    return diffusers.StableDiffusionPipeline(
        vae=parts.vae(), unet=parts.unet(channels), scheduler=parts.ddim(), **_texts(), **NO_CHECKER
    )


def inpainting() -> Any:
    return stable_diffusion(9)


def safe() -> Any:
    return diffusers.StableDiffusionPipelineSafe(
        vae=parts.vae(), unet=parts.unet(), scheduler=parts.ddim(), **_texts(), **NO_CHECKER
    )


def depth() -> Any:
    config = DPTConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        backbone_out_indices=[0, 1, 2, 3],
        image_size=SIDE,
        patch_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        is_hybrid=False,
    )
    return diffusers.StableDiffusionDepth2ImgPipeline(
        vae=parts.vae(),
        unet=parts.unet(5),
        scheduler=parts.ddim(),
        depth_estimator=DPTForDepthEstimation(config),
        feature_extractor=DPTImageProcessorPil(size={"height": SIDE, "width": SIDE}),
        **_texts(),
    )


def upscale() -> Any:
    return diffusers.StableDiffusionUpscalePipeline(
        vae=parts.vae(blocks=3),
        unet=parts.unet(7, num_class_embeds=1000),
        low_res_scheduler=DDPMScheduler(),
        scheduler=parts.ddim(),
        max_noise_level=350,
        **_texts(),
    )


def latent_upscale() -> Any:
    unet = parts.unet(
        8,
        out_channels=5,
        block_out_channels=(32, 32, 64, 64),
        act_fn="gelu",
        time_cond_proj_dim=2 * 64 + WIDTH,
        resnet_time_scale_shift="scale_shift",
        conv_in_kernel=1,
        conv_out_kernel=1,
        time_embedding_type="fourier",
        timestep_post_act="gelu",
        down_block_types=("KDownBlock2D", *["KCrossAttnDownBlock2D"] * 3),
        up_block_types=(*["KCrossAttnUpBlock2D"] * 3, "KUpBlock2D"),
        mid_block_type=None,
        only_cross_attention=False,
        norm_num_groups=None,
    )
    return diffusers.StableDiffusionLatentUpscalePipeline(
        vae=parts.vae(), unet=unet, scheduler=EulerDiscreteScheduler(prediction_type="sample"), **_texts()
    )


def variation() -> Any:
    return diffusers.StableDiffusionImageVariationPipeline(
        vae=parts.vae(),
        unet=parts.unet(),
        scheduler=parts.ddim(),
        image_encoder=parts.clip_vision(),
        safety_checker=None,
        feature_extractor=parts.clip_pictures(),
        requires_safety_checker=False,
    )


def paint_by_example() -> Any:
    from diffusers.pipelines.deprecated.paint_by_example import PaintByExampleImageEncoder

    return diffusers.PaintByExamplePipeline(
        vae=parts.vae(),
        unet=parts.unet(9),
        scheduler=parts.ddim(),
        image_encoder=parts.clip_vision(PaintByExampleImageEncoder, num_hidden_layers=5),
        safety_checker=None,
        feature_extractor=parts.clip_pictures(),
    )


def alt() -> Any:
    from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
        RobertaSeriesConfig,
        RobertaSeriesModelWithTransformation,
    )

    tokens = words.xlm_roberta()
    config = RobertaSeriesConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        project_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=len(tokens),
        max_position_embeddings=64,
    )
    return diffusers.AltDiffusionPipeline(
        vae=parts.vae(),
        unet=parts.unet(),
        scheduler=parts.ddim(),
        tokenizer=tokens,
        text_encoder=RobertaSeriesModelWithTransformation(config),
        **NO_CHECKER,
    )


def versatile() -> Any:
    from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel

    tokens = words.clip()
    flat = UNetFlatConditionModel(
        sample_size=SIDE // 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlockFlat", "CrossAttnDownBlockFlat"),
        up_block_types=("CrossAttnUpBlockFlat", "UpBlockFlat"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    return diffusers.VersatileDiffusionPipeline(
        tokenizer=tokens,
        image_feature_extractor=parts.clip_pictures(),
        text_encoder=parts.clip_text(tokens, CLIPTextModelWithProjection),
        image_encoder=parts.clip_vision(CLIPVisionModelWithProjection),
        image_unet=parts.unet(),
        text_unet=flat,
        vae=parts.vae(),
        scheduler=parts.ddim(),
    )


def text_to_video() -> Any:
    unet = diffusers.UNet3DConditionModel(
        sample_size=SIDE // 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    return diffusers.TextToVideoSDPipeline(vae=parts.vae(), unet=unet, scheduler=parts.ddim(), **_texts())


def _normalised() -> dict[str, Any]:
    from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer

    return {
        "image_normalizer": StableUnCLIPImageNormalizer(embedding_dim=WIDTH),
        "image_noising_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        "unet": parts.unet(class_embed_type="projection", projection_class_embeddings_input_dim=2 * WIDTH),
        "scheduler": parts.ddim(),
        "vae": parts.vae(),
    }


def stable_unclip() -> Any:
    tokens = words.clip()
    prior = diffusers.PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        embedding_dim=WIDTH,
        num_layers=1,
        num_embeddings=tokens.model_max_length,
    )
    return diffusers.StableUnCLIPPipeline(
        prior_tokenizer=tokens,
        prior_text_encoder=parts.clip_text(tokens, CLIPTextModelWithProjection),
        prior=prior,
        prior_scheduler=DDPMScheduler(variance_type="fixed_small_log", prediction_type="sample"),
        tokenizer=tokens,
        text_encoder=parts.clip_text(tokens, CLIPTextModel),
        **_normalised(),
    )


def stable_unclip_img2img() -> Any:
    return diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=parts.clip_pictures(), image_encoder=parts.clip_vision(), **_texts(), **_normalised()
    )
