"""Read a scene back from its pixels, without a network: the judge of what the built-in models draw and say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.models.builtin.scenes import COLOURS, SHAPES, SIZE, coverage, place_of

_BORDER = 2
_LEAST_AREA = 40
_LEAST_CONTRAST = 40.0


@dataclass(frozen=True)
class Reading:
    """What a picture shows. ``overlap`` (0..1) is the intersection over union with the best ideal shape."""

    shape: str
    colour: str
    background: str
    x: float
    y: float
    radius: float
    overlap: float

    @property
    def caption(self) -> str:
        """The caption that a scene like this has."""
        return f"a {self.colour} {self.shape} on a {self.background} background"

    @property
    def place(self) -> str:
        """One of nine places, as in ``top left``."""
        return place_of(self.x, self.y)


NOTHING = Reading("nothing", "no", "no", 0.0, 0.0, 0.0, 0.0)
"""What is read where no object stands out from its background."""


def read(picture: NDArray[np.uint8]) -> Reading:
    """Read one ``(64, 64, 3)`` RGB picture.

    The background is the palette colour nearest to the median of the border. The object is where a pixel is nearer to
    the one other colour that explains most of the rest. Its shape is the ideal shape of equal area and centroid
    that overlaps it best, each tried at five sizes.
    """
    if picture.shape != (SIZE, SIZE, 3):
        raise ValueError(f"a scene is {SIZE} x {SIZE} RGB, not {picture.shape}")
    pixels = picture.astype(np.float32)
    edge = np.ones((SIZE, SIZE), bool)
    edge[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    ground = np.median(pixels[edge], axis=0)
    palette = np.array(list(COLOURS.values()), np.float32)
    names = list(COLOURS)
    background = names[_nearest(ground, palette)]

    apart = np.linalg.norm(pixels - ground, axis=2)
    most = np.percentile(apart, 99)
    if most < _LEAST_CONTRAST:
        return NOTHING
    core = apart > 0.75 * most
    colour = names[_nearest(np.median(pixels[core], axis=0), palette)]
    if colour == background:
        return NOTHING
    direction = np.median(pixels[core], axis=0) - ground
    along = (pixels - ground) @ direction / (direction @ direction)
    mask = along > 0.5
    if mask.sum() < _LEAST_AREA:
        return NOTHING
    best = max((_fit(mask, shape) for shape in SHAPES), key=lambda fit: fit[0])
    overlap, shape, x, y, radius = best
    return Reading(shape, colour, background, x, y, radius, overlap)


def _nearest(colour: NDArray[np.float32], palette: NDArray[np.float32]) -> int:
    return int(np.linalg.norm(palette - colour, axis=1).argmin())


def _fit(mask: NDArray[np.bool_], shape: str) -> tuple[float, str, float, float, float]:
    rows, columns = np.nonzero(mask)
    centre_x, centre_y = columns.mean() + 0.5, rows.mean() + 0.5
    unit_area, offset_y = _UNIT[shape]
    even = float(np.sqrt(mask.sum() / unit_area))
    tried = []
    for radius in even * np.array([0.9, 0.95, 1.0, 1.05, 1.1]):
        x, y = centre_x, centre_y - offset_y * radius
        ideal = coverage(shape, x, y, float(radius)) >= 0.5
        overlap = (ideal & mask).sum() / (ideal | mask).sum()
        tried.append((float(overlap), shape, float(x), float(y), float(radius)))
    return max(tried)


def _unit(shape: str) -> tuple[float, float]:
    """Area and vertical centroid of a shape of radius 1."""
    radius = SIZE / 2 - 2
    cover = coverage(shape, SIZE / 2, SIZE / 2, radius)
    rows = np.arange(SIZE, dtype=np.float32)[:, None] + 0.5 - SIZE / 2
    return float(cover.sum()) / radius**2, float((cover * rows).sum() / cover.sum()) / radius


_UNIT = {shape: _unit(shape) for shape in SHAPES}
