"""A small benchmark in PIE-Bench's format, of rendered scenes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from operators.models.builtin.scenes import COLOURS, SHAPES, Scene, draw, masks, scene

SERIES = 4
TIMES = 8
"""A scene's pixels are so many of the benchmark's to a side."""


def runs(mask: NDArray[np.bool_]) -> list[int]:
    """Starts and lengths of what is true in a mask, row after row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.reshape(-1).astype(np.int8), [0]])))
    return [int(number) for start, end in edges.reshape(-1, 2) for number in (start, end - start)]


def edited(item: Scene, number: int) -> tuple[Scene, str, str]:
    """What a scene shall become, the word that goes and the one that comes: by turns a shape and a colour."""
    if number % 2:
        colour = next(name for name in COLOURS if name not in (item.colour, item.background))
        return replace(item, colour=colour), item.colour, colour
    shape = next(name for name in SHAPES if name != item.shape)
    return replace(item, shape=shape), item.shape, shape


def write(folder: Path, pictures: int = 4) -> Path:
    """The benchmark with so many pictures: shapes to change (type 1), and colours (type 6)."""
    mapping = {}
    for number in range(pictures):
        item = scene(number, SERIES)
        wanted, old, new = edited(item, number)
        key, kind = f"{number:012d}", "6" if number % 2 else "1"
        path = f"{kind}_change/{key}.jpg"
        large = draw([item])[0].repeat(TIMES, 0).repeat(TIMES, 1)
        (folder / "annotation_images" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(large).save(folder / "annotation_images" / path, quality=95)
        mapping[key] = {
            "image_path": path,
            "original_prompt": item.caption.replace(old, f"[{old}]"),
            "editing_prompt": wanted.caption.replace(new, f"[{new}]"),
            "editing_instruction": f"change the {old} to {new}",
            "editing_type_id": kind,
            "blended_word": f"{old} {new}",
            "mask": runs(masks([item])[0].repeat(TIMES, 0).repeat(TIMES, 1)),
        }
    (folder / "mapping_file.json").write_text(json.dumps(mapping))
    return folder
