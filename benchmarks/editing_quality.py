"""What edits of scenes that the built-in models were never trained on come out as, read from the pixels.

plain_psnr, exact_psnr     dB: inverted and generated back with the same prompt, guidance 1, 50 steps
p2p_shape_right            share of circles that became squares and kept colour and background (Pix2Pix Zero)
p2p_colour_right           share of red objects that became blue and kept shape and background
p2p_background_psnr        dB, where neither the old nor the new object is, over both
diffedit_iou               mean overlap of the masks with the true objects, over changes of colour
diffedit_right             share of those whose colour is new and whose shape and background are kept
diffedit_background_psnr   dB, as above
diffusers_...              the same of diffusers' pipelines, one picture at a time, on fewer scenes; not with --quick

dB are means over pictures, against the autoencoder's own reconstruction of the source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import common
import numpy as np
import pyarrow as pa
import references
import torch
from numpy.typing import NDArray

from operators import DiffEdit, Invert, Pix2PixZero
from operators.diffusion.family import load_family
from operators.images import decode, encode_all
from operators.models.builtin.reading import read
from operators.models.builtin.scenes import COLOURS, HELD_OUT_SERIES, Scene, coverage, draw, masks, scene
from operators.models.loading import diffusion_files
from operators.models.ref import ModelRef

MODEL = ModelRef("builtin:stable-diffusion")
STEPS = 50
BATCH = 25
P2P = {"guidance_scale": 1.5, "cross_attention_guidance": 0.3}
INVERSION: dict[str, Any] = {"method": "plain"}
DIFFEDIT = {"guidance_scale": 3.0, "mask_strength": 0.4}
PEER_THRESHOLD = 1.5
"""Of diffusers, in means of the difference; its default."""
FIRST = 20_000
"""The first scene; settings were chosen on scenes from 40,000 on."""

Pixels = NDArray[np.uint8]
Judged = dict[str, float]


def measure(quick: bool) -> dict[str, Any]:
    """The figures, with the number of edits behind each."""
    ours, theirs = (5, 0) if quick else (200, 20)
    shapes = pairs(lambda item: item.shape == "circle", lambda item, _: replace(item, shape="square"), ours)
    reds = pairs(
        lambda item: item.colour == "red" and item.background != "blue",
        lambda item, _: replace(item, colour="blue"),
        ours,
    )
    recoloured = pairs(lambda _: True, recolour, ours)
    figures = inversion([source for source, _ in recoloured])
    figures |= pix2pix_zero(shapes, reds) | diffedit(recoloured)
    beside = peers(shapes[:theirs], reds[:theirs], recoloured[:theirs]) if theirs else {}
    figures |= {f"diffusers_{name}": value for name, value in beside.items()}
    return {**{name: round(value, 3) for name, value in figures.items()}, "edits": ours, "diffusers_edits": theirs}


Pair = tuple[Scene, Scene]


def pairs(fits: Callable[[Scene], bool], change: Callable[[Scene, int], Scene], count: int) -> list[Pair]:
    """Scenes that fit, and what they are to become."""
    found: list[Pair] = []
    index = FIRST
    while len(found) < count:
        item = scene(index, HELD_OUT_SERIES)
        if fits(item):
            found.append((item, change(item, index)))
        index += 1
    return found


def recolour(item: Scene, index: int) -> Scene:
    """The same in one of the colours that it doesn't have."""
    left = [colour for colour in COLOURS if colour not in (item.colour, item.background)]
    return replace(item, colour=left[index % len(left)])


def table_of(edits: list[Pair]) -> pa.Table:
    """Pictures, what they show, and what they are to show."""
    return pa.table(
        {
            "image": encode_all(draw([source for source, _ in edits])),
            "caption": [source.caption for source, _ in edits],
            "wanted": [target.caption for _, target in edits],
        }
    )


def inversion(scenes: list[Scene]) -> Judged:
    """Mean PSNR of pictures made again."""
    table = table_of([(item, item) for item in scenes])
    found = {}
    for method in ("plain", "exact"):
        made = Invert(model=MODEL, steps=STEPS, method=method).load(batch_rows=BATCH)(table)
        found[f"{method}_psnr"] = float(np.mean(made["inverted_latents_psnr"].to_numpy()))
    return found


def pix2pix_zero(shapes: list[Pair], reds: list[Pair]) -> Judged:
    """Pix2Pix Zero by words, over both changes."""
    inverter = Invert(model=MODEL, steps=STEPS, reconstruction=False, **INVERSION).load(batch_rows=BATCH)
    backgrounds: list[float] = []
    found: Judged = {}
    for name, edits, words in (("shape", shapes, ("circle", "square")), ("colour", reds, ("red", "blue"))):
        spec = Pix2PixZero(model=MODEL, from_=words[0], to=words[1], steps=STEPS, **P2P)
        made = spec.load(batch_rows=BATCH)(inverter(table_of(edits)))
        right, background = judged(seen(made["edited_image"]), edits)
        found[f"p2p_{name}_right"] = right
        backgrounds += background
    return found | {"p2p_background_psnr": float(np.mean(backgrounds))}


def diffedit(edits: list[Pair]) -> Judged:
    """DiffEdit by prompts."""
    spec = DiffEdit(model=MODEL, target_prompt={"column": "wanted"}, steps=STEPS, empty="copy", **DIFFEDIT)
    made = spec.load(batch_rows=BATCH)(table_of(edits))
    right, background = judged(seen(made["edited_image"]), edits)
    found = np.stack([picture[..., 0] > 127 for picture in seen(made["edited_image_mask"])])
    return {
        "diffedit_iou": overlap(found, edits),
        "diffedit_right": right,
        "diffedit_background_psnr": float(np.mean(background)),
    }


def peers(shapes: list[Pair], reds: list[Pair], recoloured: list[Pair]) -> Judged:
    """The same figures of diffusers' pipelines, with the same settings where they have them."""
    folder = str(diffusion_files(MODEL).folder)
    zero = references.Pix2PixZero(folder, STEPS, P2P["guidance_scale"], P2P["cross_attention_guidance"])
    backgrounds: list[float] = []
    found: Judged = {}
    for name, edits in (("shape", shapes), ("colour", reds)):
        made = [zero(draw([source])[0], source.caption, target.caption) for source, target in edits]
        right, background = judged(made, edits)
        found[f"p2p_{name}_right"] = right
        backgrounds += background
    found["p2p_background_psnr"] = float(np.mean(backgrounds))
    differ = references.DiffEdit(folder, STEPS, DIFFEDIT["guidance_scale"], DIFFEDIT["mask_strength"], PEER_THRESHOLD)
    both = [differ(draw([source])[0], source.caption, target.caption) for source, target in recoloured]
    right, background = judged([made for made, _ in both], recoloured)
    sized = np.stack([np.kron(mask, np.ones((4, 4), bool)) for _, mask in both])
    return found | {
        "diffedit_iou": overlap(sized, recoloured),
        "diffedit_right": right,
        "diffedit_background_psnr": float(np.mean(background)),
    }


def seen(pictures: pa.ChunkedArray) -> list[Pixels]:
    """Pixels of a column."""
    return [np.asarray(decode(picture)) for picture in pictures.to_pylist()]


def judged(made: list[Pixels], edits: list[Pair]) -> tuple[float, list[float]]:
    """Share of edits that show what they should, and the PSNR of every background."""
    right = np.mean([read(picture).caption == target.caption for picture, (_, target) in zip(made, edits, strict=True)])
    family = load_family(diffusion_files(MODEL), torch.device("cpu"))
    pixels = torch.from_numpy(draw([source for source, _ in edits])).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        sources = family.decode(family.encode_images(pixels, None)).permute(0, 2, 3, 1).numpy()
    psnr = []
    for picture, source, pair in zip(made, sources, edits, strict=True):
        outside = np.logical_and.reduce([coverage(s.shape, s.x, s.y, s.radius) == 0 for s in pair])
        error = np.square(picture / 255 - source)[outside].mean()
        psnr.append(float(-10 * np.log10(error + 1e-12)))
    return float(right), psnr


def overlap(found: NDArray[np.bool_], edits: list[Pair]) -> float:
    """Mean intersection over union with the objects."""
    true = masks([source for source, _ in edits])
    return float(((found & true).sum((1, 2)) / (found | true).sum((1, 2))).mean())


if __name__ == "__main__":
    common.main(measure, __doc__)
