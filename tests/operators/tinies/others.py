"""Diffusion in pixels, in codes and in sound; unCLIP, DeepFloyd IF, latent diffusion."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusers import DDIMScheduler, DDPMScheduler, UnCLIPScheduler, UNet1DModel, VQModel
from transformers import CLIPTextModelWithProjection

from tests.operators.tinies import parts, words
from tests.operators.tinies.parts import SIDE, WIDTH


def ddpm() -> Any:
    return diffusers.DDPMPipeline(unet=parts.unconditional(), scheduler=DDPMScheduler())


def ddim() -> Any:
    return diffusers.DDIMPipeline(unet=parts.unconditional(), scheduler=DDIMScheduler())


def pndm() -> Any:
    return diffusers.PNDMPipeline(unet=parts.unconditional(), scheduler=diffusers.PNDMScheduler())


def score_sde_ve() -> Any:
    return diffusers.ScoreSdeVePipeline(unet=parts.unconditional(), scheduler=diffusers.ScoreSdeVeScheduler())


def karras_ve() -> Any:
    return diffusers.KarrasVePipeline(unet=parts.unconditional(), scheduler=diffusers.KarrasVeScheduler())


def _codes(**options: Any) -> VQModel:
    return VQModel(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=3,
        norm_num_groups=4,
        **options,
    )


def latent_unconditional() -> Any:
    return diffusers.LDMPipeline(vqvae=_codes(), unet=parts.unconditional(), scheduler=DDIMScheduler())


def latent_super_resolution() -> Any:
    unet = parts.unconditional(6, out_channels=3)
    return diffusers.LDMSuperResolutionPipeline(vqvae=_codes(), unet=unet, scheduler=DDIMScheduler())


def latent_text() -> Any:
    tokens = words.clip()
    return diffusers.LDMTextToImagePipeline(
        vqvae=parts.vae(),
        bert=parts.clip_text(tokens, max_position_embeddings=77),
        tokenizer=tokens,
        unet=parts.unet(),
        scheduler=parts.ddim(),
    )


def vector_quantized() -> Any:
    from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import (
        LearnedClassifierFreeSamplingEmbeddings,
    )

    tokens, codes, side = words.clip(), 12, SIDE // 8
    transformer = diffusers.Transformer2DModel(
        attention_bias=True,
        cross_attention_dim=WIDTH,
        num_attention_heads=2,
        attention_head_dim=8,
        num_vector_embeds=codes + 1,
        num_embeds_ada_norm=12,
        norm_num_groups=4,
        sample_size=side,
        activation_fn="geglu-approximate",
    )
    vqvae = VQModel(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=3,
        norm_num_groups=4,
        num_vq_embeddings=codes,
        vq_embed_dim=3,
    )
    return diffusers.VQDiffusionPipeline(
        vqvae=vqvae,
        text_encoder=parts.clip_text(tokens),
        tokenizer=tokens,
        transformer=transformer,
        scheduler=diffusers.VQDiffusionScheduler(num_vec_classes=codes + 1, num_train_timesteps=12),
        learned_classifier_free_sampling_embeddings=LearnedClassifierFreeSamplingEmbeddings(learnable=False),
    )


def _unclip() -> dict[str, Any]:
    from diffusers.pipelines.deprecated.unclip import UnCLIPTextProjModel

    tokens, deep = words.clip(), 4 * 8
    decoder = parts.unet(
        3,
        sample_size=8,
        out_channels=6,
        class_embed_type="identity",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        resnet_time_scale_shift="scale_shift",
    )
    blocks = {"down_block_types": ("ResnetDownsampleBlock2D",) * 2, "up_block_types": ("ResnetUpsampleBlock2D",) * 2}
    first, last = (parts.unconditional(6, out_channels=3, sample_size=16, **blocks) for _ in range(2))
    return {
        "decoder": decoder,
        "text_encoder": parts.clip_text(tokens, CLIPTextModelWithProjection),
        "tokenizer": tokens,
        "text_proj": UnCLIPTextProjModel(
            clip_embeddings_dim=WIDTH, time_embed_dim=deep, cross_attention_dim=WIDTH, clip_extra_context_tokens=4
        ),
        "super_res_first": first,
        "super_res_last": last,
        "decoder_scheduler": UnCLIPScheduler(variance_type="learned_range", prediction_type="epsilon"),
        "super_res_scheduler": UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="epsilon"),
    }


def unclip() -> Any:
    given = _unclip()
    prior = diffusers.PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        embedding_dim=WIDTH,
        num_layers=1,
        num_embeddings=given["tokenizer"].model_max_length,
    )
    scheduler = UnCLIPScheduler(
        variance_type="fixed_small_log", prediction_type="sample", num_train_timesteps=1000, clip_sample_range=5.0
    )
    return diffusers.UnCLIPPipeline(prior=prior, prior_scheduler=scheduler, **given)


def unclip_variation() -> Any:
    return diffusers.UnCLIPImageVariationPipeline(
        feature_extractor=parts.clip_pictures(), image_encoder=parts.clip_vision(), **_unclip()
    )


def _floyd(channels: int, **options: Any) -> dict[str, Any]:
    tokens = words.t5()
    unet = parts.unet(
        channels,
        sample_size=16,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        resnet_time_scale_shift="scale_shift",
        encoder_hid_dim=WIDTH,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm",
        act_fn="gelu",
        **options,
    )
    return {
        "tokenizer": tokens,
        "text_encoder": parts.t5(tokens),
        "unet": unet,
        "scheduler": DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            thresholding=True,
            dynamic_thresholding_ratio=0.95,
            sample_max_value=1.0,
            prediction_type="epsilon",
            variance_type="learned_range",
        ),
        "safety_checker": None,
        "feature_extractor": None,
        "watermarker": None,
        "requires_safety_checker": False,
    }


def floyd() -> Any:
    return diffusers.IFPipeline(**_floyd(3))


def floyd_super_resolution() -> Any:
    noising = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    given = _floyd(6, class_embed_type="timestep")
    return diffusers.IFSuperResolutionPipeline(image_noising_scheduler=noising, **given)


def dance(**options: Any) -> Any:
    unet = UNet1DModel(
        sample_size=512,
        sample_rate=16_000,
        in_channels=2,
        out_channels=2,
        block_out_channels=(32, 32, 64),
        extra_in_channels=16,
        flip_sin_to_cos=True,
        use_timestep_embedding=False,
        time_embedding_type="fourier",
        norm_num_groups=4,
        mid_block_type="UNetMidBlock1D",
        down_block_types=("DownBlock1DNoSkip", "DownBlock1D", "AttnDownBlock1D"),
        up_block_types=("AttnUpBlock1D", "UpBlock1D", "UpBlock1DNoSkip"),
        **options,
    )
    return diffusers.DanceDiffusionPipeline(unet=unet, scheduler=diffusers.IPNDMScheduler())


def dance_with_its_channels() -> Any:
    """As diffusers 0.42 wants it told how many of the input's channels are the time's."""
    return dance(time_embedding_dim=16)


def audio() -> Any:
    from diffusers import Mel

    unet = parts.unconditional(1, sample_size=(32, 64))
    return diffusers.AudioDiffusionPipeline(
        vqvae=None, unet=unet, mel=Mel(x_res=64, y_res=32, n_iter=2), scheduler=DDIMScheduler()
    )
