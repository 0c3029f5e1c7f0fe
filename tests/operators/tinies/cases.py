"""Every pipeline that is tried, with what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from operators.base import Column
from operators.pipeline import Product
from tests.operators.tinies import others, stable, today


@dataclass(frozen=True)
class Case:
    """One pipeline; ``short`` ones are part of the default run."""

    pipeline: str
    build: Callable[[], Any]
    arguments: dict[str, Any]
    produces: Product = Product.IMAGE
    form: str = ""
    short: bool = False

    @property
    def name(self) -> str:
        """The pipeline, and what is particular."""
        return f"`{self.pipeline}`" + (f", {self.form}" if self.form else "")

    @property
    def taken(self) -> str:
        """The arguments that columns give."""
        return ", ".join(name for name, value in self.arguments.items() if isinstance(value, Column)) or "-"


_STEPS = {"num_inference_steps": 2}
_SMALL = {"height": 32, "width": 32}
_PROMPT = {"prompt": Column(column="prompt")}
_IMAGE = {"image": Column(column="image")}
_MASK = {"mask_image": Column(column="mask")}
_SKETCH = {"image": Column(column="small")}
_TEXT = _PROMPT | _STEPS
_SIZED = _TEXT | _SMALL
_REDONE = _PROMPT | _IMAGE | {"num_inference_steps": 4, "strength": 0.6}
_FILLED = _PROMPT | _IMAGE | _MASK | {"num_inference_steps": 4, "strength": 0.6} | _SMALL
_LENGTH = {"max_sequence_length": 32}
_GUIDED = {"true_cfg_scale": 3.0, "negative_prompt": "blue"}

CASES = [
    Case("StableDiffusionPipeline", stable.stable_diffusion, _TEXT),
    Case("StableDiffusionImg2ImgPipeline", stable.stable_diffusion, _REDONE, short=True),
    Case("StableDiffusionInpaintPipeline", stable.inpainting, _FILLED),
    Case("StableDiffusionDepth2ImgPipeline", stable.depth, _REDONE),
    Case("StableDiffusionUpscalePipeline", stable.upscale, _PROMPT | _SKETCH | _STEPS, short=True),
    Case("StableDiffusionLatentUpscalePipeline", stable.latent_upscale, _PROMPT | _IMAGE | _STEPS),
    Case("StableDiffusionImageVariationPipeline", stable.variation, _IMAGE | _STEPS),
    Case("StableDiffusionPanoramaPipeline", stable.stable_diffusion, _TEXT | {"height": 32, "width": 48}, short=True),
    Case("StableDiffusionPipelineSafe", stable.safe, _TEXT),
    Case("CycleDiffusionPipeline", stable.stable_diffusion, _REDONE | {"source_prompt": Column(column="source")}),
    Case(
        "PaintByExamplePipeline",
        stable.paint_by_example,
        _IMAGE | _MASK | _STEPS | {"example_image": Column(column="example")},
    ),
    Case("AltDiffusionPipeline", stable.alt, _TEXT),
    Case("VersatileDiffusionTextToImagePipeline", stable.versatile, _SIZED),
    Case("VersatileDiffusionImageVariationPipeline", stable.versatile, _IMAGE | _STEPS | _SMALL),
    Case("VersatileDiffusionDualGuidedPipeline", stable.versatile, _PROMPT | _IMAGE | _STEPS | _SMALL),
    Case("StableUnCLIPPipeline", stable.stable_unclip, _TEXT | {"prior_num_inference_steps": 2}),
    Case("StableUnCLIPImg2ImgPipeline", stable.stable_unclip_img2img, _PROMPT | _IMAGE | _STEPS),
    Case(
        "UnCLIPPipeline",
        others.unclip,
        _PROMPT
        | {"prior_num_inference_steps": 2, "decoder_num_inference_steps": 2, "super_res_num_inference_steps": 2},
    ),
    Case(
        "UnCLIPImageVariationPipeline",
        others.unclip_variation,
        _IMAGE | {"decoder_num_inference_steps": 2, "super_res_num_inference_steps": 2},
    ),
    Case("IFPipeline", others.floyd, _TEXT),
    Case("IFImg2ImgPipeline", others.floyd, _PROMPT | _SKETCH | {"num_inference_steps": 4, "strength": 0.6}),
    Case(
        "IFInpaintingPipeline", others.floyd, _PROMPT | _SKETCH | {"mask_image": Column(column="small_mask")} | _STEPS
    ),
    Case("IFSuperResolutionPipeline", others.floyd_super_resolution, _PROMPT | _SKETCH | _STEPS | _SMALL),
    Case("LDMTextToImagePipeline", others.latent_text, _SIZED),
    Case("LDMSuperResolutionPipeline", others.latent_super_resolution, _IMAGE | _STEPS),
    Case("LDMPipeline", others.latent_unconditional, _STEPS),
    Case("DDPMPipeline", others.ddpm, _STEPS),
    Case("DDIMPipeline", others.ddim, _STEPS, short=True),
    Case("PNDMPipeline", others.pndm, {"num_inference_steps": 4}),
    Case("ScoreSdeVePipeline", others.score_sde_ve, _STEPS),
    Case("KarrasVePipeline", others.karras_ve, _STEPS),
    Case("VQDiffusionPipeline", others.vector_quantized, _TEXT, short=True),
    Case("DanceDiffusionPipeline", others.dance, _STEPS, Product.AUDIO),
    Case(
        "DanceDiffusionPipeline",
        others.dance_with_its_channels,
        _STEPS,
        Product.AUDIO,
        form="`time_embedding_dim: 16` in unet/config.json",
        short=True,
    ),
    Case("AudioDiffusionPipeline", others.audio, {"steps": 2}, Product.AUDIO),
    Case("TextToVideoSDPipeline", stable.text_to_video, _SIZED | {"num_frames": 3}, Product.VIDEO, short=True),
    Case("StableDiffusionXLPipeline", today.stable_diffusion_xl, _TEXT),
    Case("StableDiffusionXLImg2ImgPipeline", today.stable_diffusion_xl, _REDONE),
    Case("StableDiffusionXLInpaintPipeline", today.stable_diffusion_xl, _FILLED),
    Case("StableDiffusion3Pipeline", today.stable_diffusion_3, _SIZED | _LENGTH),
    Case("StableDiffusion3Img2ImgPipeline", today.stable_diffusion_3, _REDONE | _SMALL | _LENGTH),
    Case("StableDiffusion3InpaintPipeline", today.stable_diffusion_3, _FILLED | _LENGTH),
    Case("FluxPipeline", today.flux, _SIZED | _LENGTH),
    Case("FluxImg2ImgPipeline", today.flux, _REDONE | _SMALL | _LENGTH),
    Case("FluxInpaintPipeline", today.flux, _FILLED | _LENGTH),
    Case(
        "FluxKontextPipeline",
        today.flux,
        _PROMPT | _IMAGE | _STEPS | _SMALL | _LENGTH | {"_auto_resize": False, "max_area": 1024},
    ),
    Case("FluxFillPipeline", today.flux_fill, _PROMPT | _IMAGE | _MASK | _STEPS | _SMALL | _LENGTH),
    Case("QwenImagePipeline", today.qwen_image, _SIZED | _GUIDED),
    Case("QwenImageImg2ImgPipeline", today.qwen_image, _REDONE | _SMALL | _GUIDED),
    Case("QwenImageInpaintPipeline", today.qwen_image, _FILLED | _GUIDED),
    Case("QwenImageEditPipeline", today.qwen_image_edit, _PROMPT | _IMAGE | _STEPS | _SMALL | _GUIDED),
    Case("QwenImageEditPlusPipeline", today.qwen_image_edit, _PROMPT | _IMAGE | _STEPS | _SMALL | _GUIDED),
    Case("QwenImageEditInpaintPipeline", today.qwen_image_edit, _FILLED | _GUIDED),
    Case("ZImagePipeline", today.z_image, _SIZED, short=True),
    Case("ZImageImg2ImgPipeline", today.z_image, _REDONE | _SMALL),
    Case("ZImageInpaintPipeline", today.z_image, _FILLED),
]
