"""Train the built-in captioner, a small BLIP: ``python -m training.captioner --out FOLDER``."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
)

from operators.models.builtin.scenes import HELD_OUT_SERIES, SIZE, Scene
from training import common, language

LONGEST = 20


def processor() -> BlipProcessor:
    """Pictures to 64 x 64 in -1..1, text to tokens."""
    half = [0.5, 0.5, 0.5]
    images = BlipImageProcessorPil(size={"height": SIZE, "width": SIZE}, image_mean=half, image_std=half)
    return BlipProcessor(images, language.caption_tokenizer())


def build(tokens: language.BertTokenizer) -> BlipForConditionalGeneration:
    """An untrained captioner."""
    config = BlipConfig(
        text_config={
            "vocab_size": len(tokens),
            "hidden_size": 128,
            "encoder_hidden_size": 128,
            "intermediate_size": 384,
            "projection_dim": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": language.PROMPT_TOKENS,
            "bos_token_id": tokens.bos_token_id,
            "eos_token_id": tokens.sep_token_id,
            "pad_token_id": tokens.pad_token_id,
            "sep_token_id": tokens.sep_token_id,
        },
        vision_config={
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": SIZE,
            "patch_size": 8,
        },
        projection_dim=128,
        image_text_hidden_size=128,
    )
    return BlipForConditionalGeneration(config)


def main() -> None:
    """Train on pictures with a little noise; a caption's prefix is given, not learnt."""
    plan = common.settings(steps=6500, batch=64, learning_rate=1e-3)
    reading = processor()
    tokens = reading.tokenizer
    model = build(tokens).to(plan.device)

    def labelled(items: list[Scene], rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
        prefixes = [rng.choice(language.CAPTION_PREFIXES) for _ in items]
        texts = [f"{prefix} {item.caption}".strip() for prefix, item in zip(prefixes, items, strict=True)]
        encoded = tokens(texts, padding="max_length", max_length=LONGEST, return_tensors="pt")
        ids, attention = encoded.input_ids, encoded.attention_mask
        given = torch.tensor([1 + len(tokens.tokenize(prefix)) for prefix in prefixes])
        learnt = (torch.arange(LONGEST)[None] >= given[:, None]) & attention.bool()
        labels = ids.masked_fill(~learnt, -100)
        ids[:, 0] = tokens.bos_token_id
        return ids.to(plan.device), attention.to(plan.device), labels.to(plan.device)

    def loss(step: int) -> Tensor:
        rng = random.Random(plan.seed * 1_000_003 + step)
        items = common.scenes(step * plan.batch, plan.batch)
        ids, attention, labels = labelled(items, rng)
        pictures = common.pixels(items, plan.device)
        deviation = 0.1 * torch.rand(len(items), 1, 1, 1, device=plan.device)
        pictures = pictures + deviation * torch.randn_like(pictures)
        with torch.autocast(plan.device.type, torch.bfloat16):
            return model(pixel_values=pictures, input_ids=ids, attention_mask=attention, labels=labels).loss

    def save(averaged: dict[str, nn.Module]) -> None:
        captioner = averaged["captioner"]
        items = common.scenes(0, 256, HELD_OUT_SERIES)
        said = captioner.generate(common.pixels(items, plan.device), max_new_tokens=LONGEST)
        captions = tokens.batch_decode(said, skip_special_tokens=True)
        exact = sum(caption == item.caption for caption, item in zip(captions, items, strict=True))
        print(f"held-out captions exact {exact / len(items):.3f}, such as {captions[0]!r}", flush=True)
        captioner.half().save_pretrained(plan.out / "blip")
        common.amend(plan.out / "blip" / "config.json", dtype="float32")
        captioner.float()
        reading.save_pretrained(plan.out / "blip")

    common.train("captioner", {"captioner": model}, loss, plan, save)


if __name__ == "__main__":
    main()
