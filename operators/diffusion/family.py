"""Stable Diffusion 1.x, 2.x and XL: what the denoising loop needs of a model, over diffusers' networks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any
from weakref import WeakValueDictionary

import diffusers
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from operators.diffusion.noise import row_noise
from operators.diffusion.predictor import Predictor
from operators.diffusion.prompts import Prompts
from operators.diffusion.vocabulary import Vocabulary
from operators.models.loading import ModelFiles, Precision, load_network, pick_dtype

_AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
_TEXTS_KEPT = 256
_PIXELS_AT_ONCE = 1 << 20

Encode = Callable[[Sequence[str]], Prompts]
LeftOut = Callable[[str], str]


class StableDiffusion:
    """The networks of one model on one device: Stable Diffusion 1.x and 2.x.

    Args:
        files: a folder as ``StableDiffusionPipeline.save_pretrained`` writes it.
        device: where the networks run.
        dtype: that the networks compute in; latents are in single precision everywhere else.

    Attributes:
        files: that it was loaded from.
        scheduler: the model's own.
        channels: channels of the latents.
        extra_channels: channels that the network takes beside the latents.
        factor: pixels per latent, in each direction.
        size: width and height in pixels that the model was trained on.
        vocabulary: words that texts may have beyond those of the model.

    Raises:
        ModelError: the folder holds another kind of model, or lacks a part.
    """

    def __init__(self, files: ModelFiles, device: torch.device, dtype: torch.dtype) -> None:
        index = files.json("model_index.json")
        vae_class = index["vae"][1]
        if vae_class not in _AUTOENCODERS:
            raise files.refuse(f"has a {vae_class}; this step takes {' or '.join(_AUTOENCODERS)}")
        self.device, self.dtype, self.files = device, dtype, files
        self._text_encoders = self._loaded_text_encoders()
        self._vae = self._network(getattr(diffusers, vae_class), "vae", torch_dtype=self._vae_dtype)
        self.unet = self._network(UNet2DConditionModel, "unet", torch_dtype=dtype)
        for network in (self._vae, self.unet):
            network.to(memory_format=torch.channels_last)
        self.scheduler = getattr(diffusers, index["scheduler"][1]).from_pretrained(files.part("scheduler"))
        self.channels = int(self._vae.config.latent_channels)
        self.extra_channels = int(self.unet.config.in_channels) - self.channels
        self.factor = 2 ** (len(self._vae.config.block_out_channels) - 1)
        self.size = int(self.unet.config.sample_size) * self.factor
        self.vocabulary = Vocabulary()
        self._texts = _Remembered()
        self._way: tuple[Hashable, ...] = ()
        self._encode: Encode | None = None
        self._left_out: LeftOut | None = None
        self._worded: tuple[Callable[[str], str], ...] = ()
        self._beyond = 0

    @property
    def text_encoders(self) -> tuple[tuple[Any, Any], ...]:
        """Tokenizer and text encoder, for every text encoder that the model has."""
        return self._text_encoders

    @contextmanager
    def encoding(self, key: Hashable, encode: Encode | None = None, left_out: LeftOut | None = None) -> Iterator[None]:
        """Encode texts otherwise while this lasts.

        Args:
            key: tells this way from others; what is remembered of one is not taken for another.
            encode: from texts to embeddings; as before unless given, as where only weights are others.
            left_out: what it leaves out of a text, or nothing; as before unless given.
        """
        before = self._way, self._encode, self._left_out
        self._way = (*self._way, key)
        self._encode, self._left_out = encode or self._encode, left_out or self._left_out
        try:
            yield
        finally:
            self._way, self._encode, self._left_out = before

    @contextmanager
    def wording(self, worded: Callable[[str], str]) -> Iterator[None]:
        """Put texts in other words before they are encoded, while this lasts."""
        before = self._worded
        self._worded = (*before, worded)
        try:
            yield
        finally:
            self._worded = before

    @contextmanager
    def tokenizing(self, tokenizers: Sequence[Any]) -> Iterator[None]:
        """Read texts with other tokenizers, one for every text encoder, while this lasts."""
        before = self._text_encoders
        self._text_encoders = tuple(
            (tokenizer, encoder) for tokenizer, (_, encoder) in zip(tokenizers, before, strict=True)
        )
        try:
            yield
        finally:
            self._text_encoders = before

    @contextmanager
    def decoding_around(self, latents: int) -> Iterator[None]:
        """Decode as if the left and right edges of pictures met, while this lasts.

        Args:
            latents: that each edge is shown of what lies beyond it.
        """
        before, self._beyond = self._beyond, latents
        try:
            yield
        finally:
            self._beyond = before

    @property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        return self.files.digest

    def encode_prompts(self, texts: Sequence[str]) -> Prompts:
        """Embeddings of ``n`` texts; each distinct one is encoded once while it is remembered."""
        return self._texts.of(self._in_words(texts), self._encoded, self._way)

    def encode_negative_prompts(self, texts: Sequence[str]) -> Prompts:
        """Embeddings of what to keep away from; an empty text stands for no condition at all."""
        return self.encode_prompts(texts)

    def encode_means(self, concepts: Sequence[tuple[str, ...]]) -> Prompts:
        """The mean embedding of each concept's sentences; each distinct concept is encoded once while remembered."""
        return self._texts.of([tuple(self._in_words(concept)) for concept in concepts], self._means, self._way)

    def truncated(self, texts: Sequence[Sequence[str]]) -> list[str | None]:
        """What the text encoder leaves out of each row's texts because it takes no more tokens; None for nothing."""
        return [" | ".join(filter(None, map(self._not_read, self._in_words(row)))) or None for row in texts]

    def encode_images(self, pixels: Tensor, generators: list[torch.Generator] | None) -> Tensor:
        """Latents ``(n, c, h, w)`` of pictures ``(n, 3, H, W)`` in -1..1.

        An autoencoder that gives a distribution is sampled, each row from its own generator; without generators its
        likeliest latents are taken.
        """
        scale: float = self._vae.config.scaling_factor
        return self.encode_raw(pixels, generators) * scale

    def encode_raw(self, pixels: Tensor, generators: list[torch.Generator] | None) -> Tensor:
        """The same without the scale that the denoiser expects of latents."""
        given = pixels.to(self.device, self._vae_dtype, memory_format=torch.channels_last)
        encoded = [self._vae.encode(part) for part in torch.split(given, _rows_at_once(*given.shape[-2:]))]
        if not hasattr(encoded[0], "latent_dist"):
            return torch.cat([part.latents for part in encoded]).float().contiguous()
        means = torch.cat([part.latent_dist.mean for part in encoded]).float().contiguous()
        if generators is None:
            return means
        deviations = torch.cat([part.latent_dist.std for part in encoded]).float()
        return means + deviations * row_noise(generators, means.shape[1:], self.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures ``(n, 3, H, W)`` in 0..1 of latents; few at a time, to bound memory."""
        width = latents.shape[-1]
        beyond = min(self._beyond, width)
        around = torch.cat([latents[..., width - beyond :], latents, latents[..., :beyond]], -1)
        scaled = (around / self._vae.config.scaling_factor).to(self._vae_dtype, memory_format=torch.channels_last)
        rows = _rows_at_once(*(side * self.factor for side in scaled.shape[-2:]))
        pixels = [self._vae.decode(part, return_dict=False)[0] for part in scaled.split(rows)]
        shown = torch.cat(pixels).narrow(-1, beyond * self.factor, width * self.factor)
        return (shown.float().contiguous() / 2 + 0.5).clamp(0, 1)

    def predictor(self, *prompts: Prompts, channels: Tensor | None = None) -> Predictor:
        """The network under one or more sets of conditions, as the loop calls it.

        Args:
            prompts: one for every pass.
            channels: ``(passes, n, k, h, w)``, what the network takes beside the latents.
        """
        return Predictor(self, prompts, channels)

    def conditions(self, prompts: Prompts, height: int, width: int) -> dict[str, Any]:  # noqa: ARG002
        """What the network takes of text embeddings, for latents of ``height`` x ``width``."""
        return {"encoder_hidden_states": prompts.hidden}

    @property
    def _vae_dtype(self) -> torch.dtype:
        return self.dtype

    def _loaded_text_encoders(self) -> tuple[tuple[Any, Any], ...]:
        tokenizer = CLIPTokenizer.from_pretrained(self.files.part("tokenizer"))
        return ((tokenizer, self._network(CLIPTextModel, "text_encoder", dtype=self.dtype)),)

    def encode_texts(self, texts: Sequence[str]) -> Prompts:
        """Embeddings of ``n`` texts, plainly: what is too long for the text encoder is left out."""
        ((tokenizer, encoder),) = self.text_encoders
        tokens = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        masked = getattr(encoder.config, "use_attention_mask", False)
        mask = tokens.attention_mask.to(self.device) if masked else None
        return Prompts(encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0].to(self.dtype))

    def _in_words(self, texts: Sequence[str]) -> list[str]:
        return [reduce(lambda told, worded: worded(told), self._worded, text) for text in texts]

    def _encoded(self, texts: Sequence[str]) -> Prompts:
        with self.vocabulary.reading(self, texts) as read:
            return (self._encode or self.encode_texts)(read)

    def _not_read(self, text: str) -> str:
        with self.vocabulary.reading(self, [text]) as (read,):
            return self.vocabulary.shown((self._left_out or self._beyond_the_last)(read))

    def _means(self, concepts: Sequence[tuple[str, ...]]) -> Prompts:
        sentences = [sentence for concept in concepts for sentence in concept]
        parts = [self._encoded(sentences[first : first + 64]) for first in range(0, len(sentences), 64)]
        together = Prompts.joined(parts)
        ends = list(accumulate(map(len, concepts), initial=0))
        return Prompts.joined([together[first:end].mean() for first, end in pairwise(ends)])

    def _beyond_the_last(self, text: str) -> str:
        tokenizer, _ = self.text_encoders[0]
        longest = tokenizer.model_max_length
        if len(text) < longest - 2:
            return ""
        ids = tokenizer(text, truncation=False, verbose=False).input_ids
        return str(tokenizer.decode(ids[longest - 1 : -1])) if len(ids) > longest else ""

    def _network(self, kind: Any, part: str, **options: Any) -> Any:
        return load_network(kind, self.files, self.device, part, **options)


class ImageVariation(StableDiffusion):
    """Stable Diffusion that is told by a picture: without a text encoder, and what is said in words is left out."""

    def encode_texts(self, texts: Sequence[str]) -> Prompts:
        """Zeros, no condition at all, for each of ``n`` texts."""
        width = self.unet.config.cross_attention_dim
        return Prompts(torch.zeros(len(texts), 1, width, dtype=self.dtype, device=self.device))

    def _loaded_text_encoders(self) -> tuple[tuple[Any, Any], ...]:
        return ()

    def _beyond_the_last(self, text: str) -> str:
        return text


class StableDiffusionXL(StableDiffusion):
    """Stable Diffusion XL: two text encoders, one of them pooled, and a network that is told the picture's size."""

    @property
    def _vae_dtype(self) -> torch.dtype:
        # Activations of XL's autoencoder exceed half precision's range.
        return torch.float32

    def encode_negative_prompts(self, texts: Sequence[str]) -> Prompts:
        """As for the others; for an empty text, zeros, if the model was trained so."""
        given = self.encode_prompts(texts)
        if not self.files.json("model_index.json").get("force_zeros_for_empty_prompt", True):
            return given
        told = torch.tensor([bool(text) for text in texts], device=self.device)
        pooled = None if given.pooled is None else given.pooled * told.view(-1, 1)
        return Prompts(given.hidden * told.view(-1, 1, 1), pooled)

    def conditions(self, prompts: Prompts, height: int, width: int) -> dict[str, Any]:
        """What the network takes of text embeddings, for latents of ``height`` x ``width``, shown whole."""
        pixels = (height * self.factor, width * self.factor)
        sizes = torch.tensor([[*pixels, 0, 0, *pixels]], dtype=self.dtype, device=self.device)
        added = {"text_embeds": prompts.pooled, "time_ids": sizes.expand(len(prompts.hidden), -1)}
        return {"encoder_hidden_states": prompts.hidden, "added_cond_kwargs": added}

    def _loaded_text_encoders(self) -> tuple[tuple[Any, Any], ...]:
        tokenizer = CLIPTokenizer.from_pretrained(self.files.part("tokenizer_2"))
        encoder = self._network(CLIPTextModelWithProjection, "text_encoder_2", dtype=self.dtype)
        return (*super()._loaded_text_encoders(), (tokenizer, encoder))

    def encode_texts(self, texts: Sequence[str]) -> Prompts:
        """Embeddings of ``n`` texts, plainly: what is too long for the text encoders is left out."""
        hidden, pooled = [], None
        for tokenizer, encoder in self.text_encoders:
            tokens = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
            encoded = encoder(tokens.input_ids.to(self.device), output_hidden_states=True)
            hidden.append(encoded.hidden_states[-2].to(self.dtype))
            pooled = encoded[0].to(self.dtype)
        return Prompts(torch.cat(hidden, -1), pooled)


_FAMILIES: dict[str, type[StableDiffusion]] = {
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionImg2ImgPipeline": StableDiffusion,
    "StableDiffusionInpaintPipeline": StableDiffusion,
    "StableDiffusionInstructPix2PixPipeline": StableDiffusion,
    "StableDiffusionPix2PixZeroPipeline": StableDiffusion,
    "StableDiffusionDiffEditPipeline": StableDiffusion,
    "CycleDiffusionPipeline": StableDiffusion,
    "StableDiffusionControlNetPipeline": StableDiffusion,
    "StableDiffusionControlNetImg2ImgPipeline": StableDiffusion,
    "StableDiffusionControlNetInpaintPipeline": StableDiffusion,
    "StableDiffusionAdapterPipeline": StableDiffusion,
    "StableDiffusionDepth2ImgPipeline": StableDiffusion,
    "StableUnCLIPImg2ImgPipeline": StableDiffusion,
    "StableDiffusionImageVariationPipeline": ImageVariation,
    "StableDiffusionXLPipeline": StableDiffusionXL,
    "StableDiffusionXLImg2ImgPipeline": StableDiffusionXL,
    "StableDiffusionXLInpaintPipeline": StableDiffusionXL,
    "StableDiffusionXLControlNetPipeline": StableDiffusionXL,
    "StableDiffusionXLControlNetImg2ImgPipeline": StableDiffusionXL,
    "StableDiffusionXLControlNetInpaintPipeline": StableDiffusionXL,
    "StableDiffusionXLAdapterPipeline": StableDiffusionXL,
}
"""What wraps a model, by the pipeline that its folder was saved from."""

_LOADED: WeakValueDictionary[Hashable, StableDiffusion] = WeakValueDictionary()


def load_family(
    files: ModelFiles,
    device: torch.device,
    precision: Precision = Precision.AUTO,
    compiled: bool = False,
    extra_channels: Sequence[int] = (0,),
    is_labelled: bool = False,
) -> StableDiffusion:
    """The model in a folder; steps of one process that ask for the same one share it.

    Args:
        files: of the model.
        device: where it runs.
        precision: that its networks compute in.
        compiled: compile the denoiser with ``torch.compile``.
        extra_channels: that the step can give the network beside the latents.
        is_labelled: whether the step tells the network of a picture beside the text.

    Raises:
        ModelError: the folder holds another kind of model, or one that takes other channels or labels.
    """
    name = files.json("model_index.json").get("_class_name")
    if name not in _FAMILIES:
        raise files.refuse(f"is a {name}; this step takes {', '.join(_FAMILIES)}")
    dtype = pick_dtype(device, precision)
    key = (files.folder.resolve(), tuple(files.weights), files.use_safetensors, str(device), dtype, compiled)
    family = _LOADED.get(key)
    if family is None:
        family = _LOADED[key] = _FAMILIES[name](files, device, dtype)
        if compiled:
            family.unet.compile()
    if family.extra_channels not in extra_channels:
        wanted = " or ".join(str(family.channels + extra) for extra in extra_channels)
        raise files.refuse(
            f"takes {family.channels + family.extra_channels} channels of latents; this step gives {wanted}"
        )
    if (family.unet.class_embedding is not None) is not is_labelled:
        is_told = "is told of a picture beside the text: it needs the control `unclip`"
        raise files.refuse("takes no picture beside the text: it can't have `unclip`" if is_labelled else is_told)
    return family


def _rows_at_once(height: int, width: int) -> int:
    """Pictures that an autoencoder, whose activations are large, is given at once."""
    return max(1, _PIXELS_AT_ONCE // (height * width))


class _Remembered:
    """Embeddings of what was asked for lately, one row for each."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Prompts] = OrderedDict()

    def of(self, keys: Sequence[Any], encode: Callable[[list[Any]], Prompts], way: Hashable) -> Prompts:
        """One row for every key; those not remembered of this way to encode are encoded, each once."""
        new = [key for key in dict.fromkeys(keys) if (way, key) not in self._kept]
        if new:
            encoded = encode(new)
            self._kept.update(((way, key), encoded[at : at + 1]) for at, key in enumerate(new))
        found = Prompts.joined([self._kept[way, key] for key in keys])
        for key in keys:
            self._kept.move_to_end((way, key))
        while len(self._kept) > _TEXTS_KEPT:
            self._kept.popitem(last=False)
        return found
