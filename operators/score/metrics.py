"""The metrics by name: what each reads, and which network it takes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Metric(StrEnum):
    """What can be measured of a row; the column is named after it."""

    CLIP_SOURCE = "clip_source"
    CLIP_TARGET = "clip_target"
    CLIP_DIRECTION = "clip_direction"
    CLIP_IMAGE = "clip_image"
    CLIP_EDITED = "clip_edited"
    BACKGROUND_LPIPS = "background_lpips"
    BACKGROUND_SSIM = "background_ssim"
    BACKGROUND_PSNR = "background_psnr"
    BACKGROUND_MSE = "background_mse"
    STRUCTURE = "structure"
    SHARPNESS = "sharpness"
    AESTHETICS = "aesthetics"


class Reads(StrEnum):
    """What a metric may read of a row, by the option of ``score`` that says where it is."""

    SOURCE = "source"
    IMAGE = "image"
    SOURCE_PROMPT = "source_prompt"
    TARGET_PROMPT = "target_prompt"
    MASK = "mask"


class Network(StrEnum):
    """What a metric may look with, by the option of ``score`` that names it."""

    CLIP = "clip"
    DINO = "dino"
    LPIPS = "lpips"
    AESTHETICS = "aesthetics"


@dataclass(frozen=True)
class Needs:
    """What one metric takes."""

    reads: frozenset[Reads]
    networks: frozenset[Network] = frozenset()


_BOTH = frozenset({Reads.SOURCE, Reads.IMAGE})
_TEXTS = frozenset({Reads.SOURCE_PROMPT, Reads.TARGET_PROMPT})
_CLIP = frozenset({Network.CLIP})

NEEDS: dict[Metric, Needs] = {
    Metric.CLIP_SOURCE: Needs(frozenset({Reads.SOURCE, Reads.SOURCE_PROMPT}), _CLIP),
    Metric.CLIP_TARGET: Needs(frozenset({Reads.IMAGE, Reads.TARGET_PROMPT}), _CLIP),
    Metric.CLIP_DIRECTION: Needs(_BOTH | _TEXTS, _CLIP),
    Metric.CLIP_IMAGE: Needs(_BOTH, _CLIP),
    Metric.CLIP_EDITED: Needs(frozenset({Reads.IMAGE, Reads.TARGET_PROMPT, Reads.MASK}), _CLIP),
    Metric.BACKGROUND_LPIPS: Needs(_BOTH | {Reads.MASK}, frozenset({Network.LPIPS})),
    Metric.BACKGROUND_SSIM: Needs(_BOTH | {Reads.MASK}),
    Metric.BACKGROUND_PSNR: Needs(_BOTH | {Reads.MASK}),
    Metric.BACKGROUND_MSE: Needs(_BOTH | {Reads.MASK}),
    Metric.STRUCTURE: Needs(_BOTH, frozenset({Network.DINO})),
    Metric.SHARPNESS: Needs(frozenset({Reads.IMAGE})),
    Metric.AESTHETICS: Needs(frozenset({Reads.IMAGE}), _CLIP | {Network.AESTHETICS}),
}
