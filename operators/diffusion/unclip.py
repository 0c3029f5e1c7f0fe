"""Noised embeddings of pictures as labels of a network (unCLIP, Ramesh et al. 2022; stable unCLIP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import diffusers
import torch
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from torch import Tensor

from operators.diffusion.noise import row_noise
from operators.diffusion.predictor import Conditioning, Window
from operators.models.loading import ModelFiles, load_network


class EmbeddingNoise:
    """Puts noise on embeddings, and beside them how much.

    Args:
        files: of the diffusion model.
        device: of the embeddings.

    Attributes:
        levels: of noise that there are.

    Raises:
        ModelError: the model lacks a part.
    """

    def __init__(self, files: ModelFiles, device: torch.device) -> None:
        name = files.json("model_index.json")["image_noising_scheduler"][1]
        self._scheduler = getattr(diffusers, name).from_pretrained(files.part("image_noising_scheduler"))
        self._normalizer = load_network(StableUnCLIPImageNormalizer, files, device, "image_normalizer")
        self.levels = int(self._scheduler.config.num_train_timesteps)

    def __call__(self, embeddings: Tensor, levels: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Labels ``(n, 2 k)`` of embeddings ``(n, k)``, noised to levels ``(n,)`` from generators of the rows' own."""
        noise = row_noise(generators, embeddings.shape[1:], embeddings.device)
        noised = self._scheduler.add_noise(self._normalizer.scale(embeddings), noise, levels)
        told = get_timestep_embedding(levels, embeddings.shape[-1], flip_sin_to_cos=True, downscale_freq_shift=0)
        return torch.cat([self._normalizer.unscale(noised), told], 1)


@dataclass(frozen=True)
class Labels(Conditioning):
    """Labels that the network adds to its embedding of the timestep.

    Attributes:
        labels: ``(n, k)``.
        without: passes that are told zeros.
    """

    labels: Tensor
    without: tuple[int, ...] = ()

    def __call__(self, inputs: Tensor, timestep: Tensor, told: dict[str, Any], window: Window | None) -> dict[str, Any]:  # noqa: ARG002
        """Labels for ``passes * n`` rows."""
        labels = self.labels.repeat(len(inputs), 1, 1)
        for place in self.without:
            labels[place] = 0
        return {"class_labels": labels.flatten(0, 1)}

    def __getitem__(self, rows: Tensor) -> Labels:
        return replace(self, labels=self.labels[rows])

    def of_passes(self, passes: Sequence[int]) -> Labels:
        """The same where only these of all passes are predicted."""
        return replace(self, without=tuple(at for at, number in enumerate(passes) if number in self.without))
