"""Edits per image: ours in a batch against diffusers' own pipelines, one picture at a time, on the same weights.

pix2pix_zero   how many times faster a picture is inverted, with regularisation, and edited
diffedit       how many times faster a picture is masked, inverted and edited
generate       how many times faster a picture is made from text
..._seconds    of one picture, ours

Both do the same steps with the same settings, on the same device, in one process, one after the other, in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import common
import numpy as np
import pyarrow as pa
import references
import torch

from operators import DiffEdit, Generate, Invert, Pix2PixZero
from operators.images import encode_all
from operators.models.builtin.scenes import HELD_OUT_SERIES, draw, scene
from operators.models.loading import diffusion_files
from operators.models.ref import ModelRef

GUIDANCE, AMOUNT, MASK_STRENGTH, THRESHOLD = 3.0, 0.1, 0.5, 1.5


def measure(quick: bool) -> dict[str, Any]:
    """The ratios of medians over turns."""
    steps, batch, turns, alone = (5, 16, 1, 2) if quick else (50, 32, 2, 4)
    folder = str(diffusion_files(ModelRef("builtin:stable-diffusion")).folder)
    scenes = [scene(index, HELD_OUT_SERIES) for index in range(batch)]
    pictures, captions = draw(scenes), [item.caption for item in scenes]
    targets = [caption.replace(item.colour, "white") for caption, item in zip(captions, scenes, strict=True)]
    table = pa.table({"image": encode_all(pictures), "caption": captions, "wanted": targets})

    shared: dict[str, Any] = {"steps": steps, "guidance_scale": GUIDANCE}
    wanted: dict[str, Any] = {"target_prompt": {"column": "wanted"}, **shared}
    inverter = Invert(steps=steps, method="regularised", reconstruction=False).load(batch_rows=batch)
    zero = Pix2PixZero(cross_attention_guidance=AMOUNT, **wanted).load(batch_rows=batch)
    differ = DiffEdit(mask_strength=MASK_STRENGTH, mask_threshold=THRESHOLD, empty="copy", **wanted).load(
        batch_rows=batch
    )
    generator = Generate(prompt={"column": "caption"}, **shared).load(batch_rows=batch)
    their_zero = references.Pix2PixZero(folder, steps, GUIDANCE, AMOUNT)
    their_differ = references.DiffEdit(folder, steps, GUIDANCE, MASK_STRENGTH, THRESHOLD)
    their_generator = references.Generate(folder, steps, GUIDANCE)

    def all_at_once(operator: Callable[[pa.Table], pa.Table]) -> float:
        return timed(lambda: operator(table)) / batch

    def one_by_one(pipeline: Callable[..., Any], *columns: Sequence[Any]) -> list[float]:
        return [timed(lambda given=given: pipeline(*given)) for given in zip(*columns, strict=True)]

    asked = (pictures[:alone], captions[:alone], targets[:alone])
    runs: dict[str, tuple[Callable[[], float], Callable[[], list[float]]]] = {
        "pix2pix_zero": (
            lambda: all_at_once(lambda rows: zero(inverter(rows))),
            lambda: one_by_one(their_zero, *asked),
        ),
        "diffedit": (lambda: all_at_once(differ), lambda: one_by_one(their_differ, *asked)),
        "generate": (lambda: all_at_once(generator), lambda: one_by_one(their_generator, captions[:alone])),
    }
    figures: dict[str, Any] = {}
    for name, (ours, theirs) in runs.items():
        times = [(theirs(), ours()) for _ in range(turns)]
        seconds = float(np.median([mine for _, mine in times]))
        figures[name] = round(float(np.median([each for others, _ in times for each in others])) / seconds, 2)
        figures[f"{name}_seconds"] = round(seconds, 3)
    return figures | {"steps": steps, "batch": batch, "threads": torch.get_num_threads()}


def timed(run: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    common.main(measure, __doc__)
