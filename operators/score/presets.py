"""What stands where options of ``score`` are left open, for each preset."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from operators.models.ref import ModelRef
from operators.score.metrics import Metric


class Preset(StrEnum):
    """Whose definitions are followed, to the letter."""

    PIE_BENCH = "pie_bench"


class Lpips(StrEnum):
    """The networks that LPIPS was released with."""

    ALEX = "alex"
    VGG = "vgg"
    SQUEEZE = "squeeze"


@dataclass(frozen=True)
class Usual:
    """What stands where an option is left open; ``mask`` None for that of the edit, if it left one."""

    metrics: tuple[Metric, ...]
    clip: ModelRef
    dino: ModelRef
    lpips: Lpips | ModelRef
    mask: str | None


_BUILTIN = ModelRef("builtin:clip")

USUAL: dict[Preset | None, Usual] = {
    None: Usual((), clip=_BUILTIN, dino=_BUILTIN, lpips=_BUILTIN, mask=None),
    Preset.PIE_BENCH: Usual(
        (
            Metric.STRUCTURE,
            Metric.BACKGROUND_PSNR,
            Metric.BACKGROUND_LPIPS,
            Metric.BACKGROUND_MSE,
            Metric.BACKGROUND_SSIM,
            Metric.CLIP_TARGET,
            Metric.CLIP_EDITED,
        ),
        clip=ModelRef("openai/clip-vit-large-patch14"),
        dino=ModelRef("facebook/dino-vitb8"),
        lpips=Lpips.SQUEEZE,
        mask="mask",
    ),
}
