"""Pictures as they are before they become bytes, and the same of diffusers' pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from operators import Generate, columns
from operators.base import Produced
from operators.diffusion.schedulers import build
from operators.generate import Generator, Wish


class Floats(Generator):
    """Keeps pictures as they are before they become bytes, by prompt."""

    def floats(self, table: pa.Table) -> dict[str, torch.Tensor]:
        self.made: dict[str, torch.Tensor] = {}
        errors = self(table)[columns.ERROR]
        assert errors.null_count == table.num_rows, errors
        return self.made

    def run(self, batch: list[Wish]) -> Produced:
        with torch.no_grad(), self._controls.installed(batch[0].controls):
            pixels = self._family.decode(self._denoised(batch))
        self.made |= {wish.prompt: picture for wish, picture in zip(batch, pixels, strict=True)}
        return super().run(batch)


def floats(spec: Generate, table: pa.Table) -> torch.Tensor:
    """Pictures ``(n, 3, H, W)`` in 0..1, of rows with different prompts."""
    return torch.stack(list(Floats(spec).floats(table).values()))


def reference(pipeline_class: Any, folder: Path, scheduler: str | None, seed: int, **given: Any) -> torch.Tensor:
    """What a pipeline of diffusers makes of one row, as such pictures."""
    pipeline = pipeline_class.from_pretrained(folder, safety_checker=None)
    pipeline.scheduler = build(scheduler, pipeline.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(generator=torch.Generator().manual_seed(seed), output_type="np", **given).images
    return torch.from_numpy(made).permute(0, 3, 1, 2)


def apart_in_company(spec: Generate, table: pa.Table) -> float:
    """How far a row's picture is from what it is alone, at most; rows need a column ``prompt`` and ids of their own."""
    operator = Floats(spec)
    together = operator.floats(table)
    assert len({float(picture.mean()) for picture in together.values()}) == table.num_rows
    apart = 0.0
    for row in range(table.num_rows):
        [(prompt, alone)] = operator.floats(table.slice(row, 1)).items()
        apart = max(apart, float((alone - together[prompt]).abs().max()))
    return apart
