"""What controls do to pictures of the built-in models, read from the pixels.

sega_moved            share of objects that took the colour that semantic guidance moves them to
sega_right            share of pictures with the new colour, the old shape and the old background
sega_kept             share of those that stayed in place, the centre within 4 pixels of where it is without
panorama_seam         steps from pixel to pixel where windows begin against those elsewhere, four times as wide
panorama_seam_apart   the same where windows don't overlap
controlnet_overlap    mean intersection over union of the object with the outline that is told
t2i_adapter_overlap   the same
plain_overlap         the same where no outline is told
..._right             share of pictures with the prompt's shape and colours
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import common
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators import Generate
from operators.images import decode, encode_all
from operators.models.builtin.reading import object_mask, read
from operators.models.builtin.scenes import COLOURS, HELD_OUT_SERIES, SIZE, Scene, masks, outlines, scene

STEPS = 30
BATCH = 20
FIRST = 30_000
"""The first scene; settings were chosen on scenes from 40,000 on."""
MOVED = 4.0
"""Pixels that an object may be away from its place."""
CELL = 4
"""Pixels of a latent."""
WIDE = 4
EDGE = 20.0
"""Levels of 255."""

CONCEPT = {"guidance_scale": 25.0, "warmup": 21, "threshold": 0.7}

Pixels = NDArray[np.uint8]


def measure(quick: bool) -> dict[str, Any]:
    """The figures, with the number of pictures behind each."""
    count = 24 if quick else 200
    figures = sega(count) | panorama(count // 8) | outlined(count)
    return {**{name: round(value, 3) for name, value in figures.items()}, "pictures": count, "panoramas": count // 8}


def sega(count: int, first: int = FIRST) -> dict[str, float]:
    """Objects moved to another colour, each of the colours that the scene doesn't have."""
    items = [scene(index, HELD_OUT_SERIES) for index in range(first, first + count)]
    wanted = [recoloured(item, index) for index, item in enumerate(items)]
    table = pa.table({"prompt": [item.caption for item in items], "wanted": [item.caption for item in wanted]})
    concepts = [
        {"prompt": {"column": "wanted"}, "direction": "towards", **CONCEPT},
        {"prompt": {"column": "prompt"}, "direction": "away", **CONCEPT},
    ]
    before = [read(picture) for picture in pictures(table)]
    after = [read(picture) for picture in pictures(table, controls=[{"sega": {"concepts": concepts}}])]
    moved = np.array([reading.colour == item.colour for reading, item in zip(after, wanted, strict=True)])
    right = np.array([reading.caption == item.caption for reading, item in zip(after, wanted, strict=True)])
    away = np.array([np.hypot(new.x - old.x, new.y - old.y) for new, old in zip(after, before, strict=True)])
    return {
        "sega_moved": float(moved.mean()),
        "sega_right": float(right.mean()),
        "sega_kept": float((away[moved] < MOVED).mean()),
    }


def recoloured(item: Scene, index: int) -> Scene:
    """The scene in one of the colours that it doesn't have."""
    left = [colour for colour in COLOURS if colour not in (item.colour, item.background)]
    return replace(item, colour=left[index % len(left)])


def panorama(count: int, first: int = FIRST) -> dict[str, float]:
    """Pictures four times as wide as those that the network was trained on."""
    items = [scene(index, HELD_OUT_SERIES) for index in range(first, first + count)]
    table = pa.table({"prompt": [item.caption for item in items]})
    side = SIZE // CELL
    wide = {"width": WIDE * SIZE, "height": SIZE}
    return {
        "panorama_seam": seam(pictures(table, **wide, controls=["panorama"]), max(side // 8, 1)),
        "panorama_seam_apart": seam(pictures(table, **wide, controls=[{"panorama": {"stride": side}}]), side),
    }


def seam(made: list[Pixels], stride: int) -> float:
    """Mean step from a pixel to the next where windows begin, against that where other latents begin.

    Steps of ``EDGE`` or more are edges of objects, which are few and would drown the rest.
    """
    steps = np.abs(np.diff(np.stack(made).astype(np.float32), axis=2)).mean(3)
    borders = np.arange(CELL, steps.shape[2] + 1, CELL)
    begins = borders % (stride * CELL) == 0
    there, elsewhere = steps[:, :, borders[begins] - 1], steps[:, :, borders[~begins] - 1]
    return float(there[there < EDGE].mean() / elsewhere[elsewhere < EDGE].mean())


def outlined(count: int, first: int = FIRST) -> dict[str, float]:
    """Pictures whose object an outline tells the place of."""
    items = [scene(index, HELD_OUT_SERIES) for index in range(first, first + count)]
    true = masks(items)
    told = encode_all(outlines(true))
    table = pa.table({"prompt": [item.caption for item in items], "condition_image": told})
    found = {}
    for name, controls in (
        ("plain", []),
        ("controlnet", [{"controlnet": {"model": "builtin:controlnet"}}]),
        ("t2i_adapter", [{"t2i_adapter": {"model": "builtin:t2i-adapter"}}]),
    ):
        made = pictures(table, controls=controls)
        seen = np.stack([object_mask(picture) for picture in made])
        found[f"{name}_overlap"] = float(((seen & true).sum((1, 2)) / (seen | true).sum((1, 2))).mean())
        right = [read(picture).caption == item.caption for picture, item in zip(made, items, strict=True)]
        found[f"{name}_right"] = float(np.mean(right))
    return found


def pictures(table: pa.Table, **options: Any) -> list[Pixels]:
    """A picture of every row, of the same noise whatever the options."""
    made = Generate.model_validate({"steps": STEPS, **options}).load(batch_rows=BATCH)(table)
    return [np.asarray(decode(picture)) for picture in made["generated_image"].to_pylist()]


if __name__ == "__main__":
    common.main(measure, __doc__)
