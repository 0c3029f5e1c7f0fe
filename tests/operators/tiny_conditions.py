"""Networks that conditions are made with, tiny, with random weights everywhere: none of what they add is nothing."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    DDPMScheduler,
    DiffusionPipeline,
    StableDiffusionDepth2ImgPipeline,
    StableDiffusionImageVariationPipeline,
    StableDiffusionPipeline,
    StableUnCLIPImg2ImgPipeline,
    T2IAdapter,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessorPil,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
    VitPoseConfig,
    VitPoseForPoseEstimation,
    VitPoseImageProcessorPil,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessorPil,
)


def controlnet(folder: Path, model: Path, seed: int = 0, **options: object) -> Path:
    """A ControlNet for a tiny model, whose zero convolutions are as if trained."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    made = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16), **options)
    closed = (made.controlnet_down_blocks, made.controlnet_mid_block, made.controlnet_cond_embedding.conv_out)
    for parameter in (parameter for part in closed for parameter in part.parameters()):
        parameter.data.normal_(0, 1.2)
    made.save_pretrained(folder)
    return folder


def deeper(folder: Path, base: Path, seed: int = 4) -> Path:
    """A tiny model with attention where Stable Diffusion has it, on three levels: what T2I-Adapters are made for."""
    torch.manual_seed(seed)
    pipeline: Any = DiffusionPipeline.from_pretrained(base)
    is_xl = hasattr(pipeline, "text_encoder_2")
    down = ["CrossAttnDownBlock2D"] * 3
    down[0 if is_xl else 2] = "DownBlock2D"
    kinds = {
        "block_out_channels": [16, 32, 32],
        "down_block_types": down,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(down)],
        "transformer_layers_per_block": 1,
        "attention_head_dim": 4,
    }
    pipeline.unet = UNet2DConditionModel.from_config({**pipeline.unet.config, **kinds})
    pipeline.save_pretrained(folder)
    return folder


def t2i_adapter(folder: Path, kind: str = "full_adapter", seed: int = 0, in_channels: int = 3) -> Path:
    """A T2I-Adapter for a tiny model."""
    torch.manual_seed(seed)
    channels = {"full_adapter": [16, 32, 32], "full_adapter_xl": [16, 32, 32, 32], "light_adapter": [16, 32]}[kind]
    T2IAdapter(
        in_channels=in_channels,
        channels=channels,
        num_res_blocks=1,
        downscale_factor=8 if kind == "full_adapter_xl" else 4,
        adapter_type=kind,
    ).save_pretrained(folder)
    return folder


def depth_model(folder: Path) -> Path:
    """A DPT of a few layers, with its picture processor."""
    torch.manual_seed(5)
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        initializer_range=0.5,
        is_hybrid=False,
    )
    DPTForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def depth2img(folder: Path, base: Path, depth: Path, seed: int = 6) -> Path:
    """A model that is shown depth, with the other parts of another tiny model."""
    torch.manual_seed(seed)
    parts = dict(StableDiffusionPipeline.from_pretrained(base, safety_checker=None).components)
    unet = UNet2DConditionModel.from_config({**parts["unet"].config, "in_channels": 5})
    StableDiffusionDepth2ImgPipeline(
        **{name: parts[name] for name in ("vae", "text_encoder", "tokenizer", "scheduler")},
        unet=unet,
        depth_estimator=DPTForDepthEstimation.from_pretrained(depth),
        feature_extractor=DPTImageProcessorPil.from_pretrained(depth),
    ).save_pretrained(folder)
    return folder


def _image_encoder(width: int) -> dict[str, Any]:
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        initializer_range=0.3,
    )
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return {"image_encoder": CLIPVisionModelWithProjection(config), "feature_extractor": processor}


def image_variation(folder: Path, base: Path) -> Path:
    """A model that is told by a picture, with the other parts of another tiny model."""
    torch.manual_seed(7)
    parts = dict(StableDiffusionPipeline.from_pretrained(base, safety_checker=None).components)
    StableDiffusionImageVariationPipeline(
        **{name: parts[name] for name in ("vae", "unet", "scheduler")},
        **_image_encoder(parts["unet"].config.cross_attention_dim),
        safety_checker=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def unclip(folder: Path, base: Path, seed: int = 8) -> Path:
    """A model that is told of a picture beside the text, with the other parts of another tiny model."""
    torch.manual_seed(seed)
    parts = dict(StableDiffusionPipeline.from_pretrained(base, safety_checker=None).components)
    told = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 2 * 24}
    normalizer = StableUnCLIPImageNormalizer(24)
    normalizer.mean.data.normal_()
    normalizer.std.data.uniform_(0.5, 2)
    StableUnCLIPImg2ImgPipeline(
        **{name: parts[name] for name in ("vae", "text_encoder", "tokenizer", "scheduler")},
        **_image_encoder(24),
        unet=UNet2DConditionModel.from_config({**parts["unet"].config, **told}),
        image_normalizer=normalizer,
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=100),
    ).save_pretrained(folder)
    return folder


def segmentation_model(folder: Path) -> Path:
    """A SegFormer of a few layers and nine classes."""
    torch.manual_seed(9)
    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        num_labels=9,
        initializer_range=1.0,
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def detector(folder: Path, names: tuple[str, ...] = ("person", "cat")) -> Path:
    """A YOLOS of a few layers."""
    torch.manual_seed(10)
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 64],
        patch_size=16,
        num_detection_tokens=6,
        id2label=dict(enumerate(names)),
        initializer_range=0.5,
    )
    YolosForObjectDetection(config).save_pretrained(folder)
    YolosImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def pose_model(folder: Path, joints: int = 17) -> Path:
    """A ViTPose of a few layers."""
    torch.manual_seed(11)
    config = VitPoseConfig(
        backbone_config={
            "model_type": "vitpose_backbone",
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": [64, 48],
            "patch_size": [16, 16],
            "out_indices": [2],
            "initializer_range": 0.5,
        },
        num_labels=joints,
        initializer_range=0.5,
    )
    VitPoseForPoseEstimation(config).save_pretrained(folder)
    VitPoseImageProcessorPil(size={"height": 64, "width": 48}).save_pretrained(folder)
    return folder
