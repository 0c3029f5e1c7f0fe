"""One step of training on an export, as the published trainers of diffusers take it: their loader, their columns."""

from __future__ import annotations

import datasets
import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import AutoTokenizer, CLIPTextModel

from tests.jobs.export.making import exported
from tests.operators import tiny

SIDE = 32
"""Pixels that the trainer scales pictures to."""


def pixels(picture):
    scaled = np.array(picture.convert("RGB").resize((SIDE, SIDE)))
    return torch.from_numpy(scaled).permute(2, 0, 1).float() / 127.5 - 1


def tokens(tokenizer, texts):
    length = tokenizer.model_max_length
    told = tokenizer(list(texts), max_length=length, padding="max_length", truncation=True, return_tensors="pt")
    return list(told.input_ids)


class Trainer:
    """The parts of a tiny model, and one optimiser step of its network."""

    def __init__(self, folder, channels):
        model = tiny.stable_diffusion(folder, tiny.autoencoder_kl(), channels)
        self.vae = AutoencoderKL.from_pretrained(model, subfolder="vae").requires_grad_(False)
        self.text_encoder = CLIPTextModel.from_pretrained(model, subfolder="text_encoder").requires_grad_(False)
        self.tokenizer = AutoTokenizer.from_pretrained(model, subfolder="tokenizer")
        self.unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet").train()
        self.scheduler = DDPMScheduler(num_train_timesteps=1000)
        self.optimizer = torch.optim.AdamW(self.unet.parameters(), lr=1e-2)

    def loss(self, latents, told, noise, beside=None):
        steps = torch.full((len(latents),), 500)
        noisy = self.scheduler.add_noise(latents, noise, steps)
        seen = noisy if beside is None else torch.cat([noisy, beside], 1)
        states = self.text_encoder(told)[0]
        return torch.nn.functional.mse_loss(self.unet(seen, steps, states).sample, noise)

    def step(self, *given):
        loss = self.loss(*given)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


def batches(rows, prepare, rows_at_once=4):
    """A loader over transformed rows, as the trainers build it."""

    def collate(examples):
        return {key: torch.stack([example[key] for example in examples]) for key in examples[0]}

    loader = torch.utils.data.DataLoader(rows.with_transform(prepare), rows_at_once, shuffle=True, collate_fn=collate)
    return iter(loader)


def test_the_instruct_pix2pix_trainer_takes_a_step(sink, tmp_path):
    exported(sink, tmp_path / "data", "diffusers")
    rows = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))["train"]
    # Where its options name no columns, it takes the first three, in this order.
    before, told, after = rows.column_names[:3]
    assert (before, told, after) == ("input_image", "edit_prompt", "edited_image")
    trainer = Trainer(tmp_path / "model", 8)
    tokenizer = trainer.tokenizer

    def prepare(examples):
        return {
            "original": [pixels(picture) for picture in examples[before]],
            "edited": [pixels(picture) for picture in examples[after]],
            "tokens": tokens(tokenizer, examples[told]),
        }

    batch = next(batches(rows, prepare))
    torch.manual_seed(0)
    latents = trainer.vae.encode(batch["edited"]).latent_dist.sample() * trainer.vae.config.scaling_factor
    beside = trainer.vae.encode(batch["original"]).latent_dist.mode()
    given = latents, batch["tokens"], torch.randn_like(latents), beside
    first, second = trainer.step(*given), trainer.step(*given)
    assert second < first


def test_the_text_to_image_trainer_takes_a_step(sink, tmp_path):
    exported(sink, tmp_path / "data", "text_to_image")
    rows = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))["train"]
    # Its options' own defaults are `image` and `text`.
    assert rows.column_names[:2] == ["image", "text"]
    trainer = Trainer(tmp_path / "model", 4)
    tokenizer = trainer.tokenizer

    def prepare(examples):
        return {
            "pixels": [pixels(picture) for picture in examples["image"]],
            "tokens": tokens(tokenizer, examples["text"]),
        }

    batch = next(batches(rows, prepare))
    torch.manual_seed(0)
    latents = trainer.vae.encode(batch["pixels"]).latent_dist.sample() * trainer.vae.config.scaling_factor
    given = latents, batch["tokens"], torch.randn_like(latents)
    first, second = trainer.step(*given), trainer.step(*given)
    assert second < first
