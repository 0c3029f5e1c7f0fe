"""Stable Diffusion 1.x and 2.x: what the denoising loop needs of a model, over diffusers' networks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import diffusers
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from operators.diffusion.noise import row_noise
from operators.models.loading import ModelFiles, pick_dtype, without_progress_bars

_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionPix2PixZeroPipeline")
_AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
_PROMPTS_KEPT = 256
_DECODED_AT_ONCE = 4


class StableDiffusion:
    """The networks of one model on one device.

    Args:
        files: a folder as ``StableDiffusionPipeline.save_pretrained`` writes it.
        device: where the networks run; in single precision on the CPU, in half precision elsewhere.

    Attributes:
        scheduler: the model's own.
        channels: channels of the latents.
        factor: pixels per latent, in each direction.
        size: width and height in pixels that the model was trained on.

    Raises:
        ModelError: the folder holds another kind of model.
    """

    def __init__(self, files: ModelFiles, device: torch.device) -> None:
        index = files.json("model_index.json")
        if index.get("_class_name") not in _PIPELINES:
            raise files.refuse(f"is a {index.get('_class_name')}; this step takes a {_PIPELINES[0]}")
        vae_class = index["vae"][1]
        if vae_class not in _AUTOENCODERS:
            raise files.refuse(f"has a {vae_class}; this step takes {' or '.join(_AUTOENCODERS)}")
        self.device, self.dtype = device, pick_dtype(device)
        self._tokenizer = CLIPTokenizer.from_pretrained(files.folder / "tokenizer")
        self._text_encoder = self._network(CLIPTextModel, files, "text_encoder", dtype=self.dtype)
        self._vae = self._network(getattr(diffusers, vae_class), files, "vae", torch_dtype=self.dtype)
        self.unet = self._network(UNet2DConditionModel, files, "unet", torch_dtype=self.dtype)
        self.scheduler = getattr(diffusers, index["scheduler"][1]).from_pretrained(files.folder / "scheduler")
        self.channels = int(self._vae.config.latent_channels)
        if self.unet.config.in_channels != self.channels:
            raise files.refuse(
                f"takes {self.unet.config.in_channels} channels of latents; this step gives {self.channels}"
            )
        self.factor = 2 ** (len(self._vae.config.block_out_channels) - 1)
        self.size = int(self.unet.config.sample_size) * self.factor
        self._prompts: OrderedDict[str, Tensor] = OrderedDict()

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings ``(n, tokens, width)``; each distinct text is encoded once while it is remembered."""
        new = [text for text in dict.fromkeys(prompts) if text not in self._prompts]
        if new:
            tokens = self._tokenizer(new, padding="max_length", truncation=True, return_tensors="pt")
            masked = getattr(self._text_encoder.config, "use_attention_mask", False)
            mask = tokens.attention_mask.to(self.device) if masked else None
            encoded = self._text_encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0]
            self._prompts.update(zip(new, map(torch.clone, encoded.to(self.dtype)), strict=True))
        embeddings = torch.stack([self._prompts[text] for text in prompts])
        for text in prompts:
            self._prompts.move_to_end(text)
        while len(self._prompts) > _PROMPTS_KEPT:
            self._prompts.popitem(last=False)
        return embeddings

    def encode_images(self, pixels: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Latents ``(n, c, h, w)`` of pictures ``(n, 3, H, W)`` in -1..1.

        An autoencoder that gives a distribution is sampled, each row from its own generator.
        """
        encoded = self._vae.encode(pixels.to(self.device, self.dtype))
        if hasattr(encoded, "latent_dist"):
            spread = encoded.latent_dist
            noise = row_noise(generators, spread.mean.shape[1:], self.device, self.dtype)
            latents = spread.mean + spread.std * noise
        else:
            latents = encoded.latents
        scaled: Tensor = latents * self._vae.config.scaling_factor
        return scaled

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures ``(n, 3, H, W)`` in 0..1, in single precision, of latents; few at a time, to bound memory."""
        parts = (latents / self._vae.config.scaling_factor).split(_DECODED_AT_ONCE)
        pixels = torch.cat([self._vae.decode(part, return_dict=False)[0] for part in parts])
        return (pixels.float() / 2 + 0.5).clamp(0, 1)

    def predictor(self, *embeddings: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The network under one or more sets of text embeddings ``(n, tokens, width)``, as the loop calls it."""
        conditions = torch.cat(embeddings)

        def predict(latents: Tensor, timestep: Tensor) -> Tensor:
            repeated = latents.repeat(len(embeddings), 1, 1, 1)
            predicted = self.unet(repeated, timestep, encoder_hidden_states=conditions, return_dict=False)[0]
            passes: Tensor = predicted.unflatten(0, (len(embeddings), len(latents)))
            return passes

        return predict

    def _network(self, kind: Any, files: ModelFiles, part: str, **options: Any) -> Any:
        with without_progress_bars():
            network = kind.from_pretrained(files.folder / part, use_safetensors=files.use_safetensors, **options)
        return network.to(self.device).eval().requires_grad_(False)
