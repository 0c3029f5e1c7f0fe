"""Read a scene back from its pixels, without a network: the judge of what the built-in models draw and say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.models.builtin.scenes import COLOURS, SHAPES, SIZE, Scene, coverage, place_of

_BORDER = 2
_LEAST_AREA = 40
_LEAST_CONTRAST = 40.0
_LEAST_INNER = 16
_LEAST_OVERLAP = 0.6
_PALETTE = np.array(list(COLOURS.values()), np.float32)


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
    found = _object(_checked(picture))
    return NOTHING if found is None else _shaped(*found)


def object_mask(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where the object of one ``(64, 64, 3)`` RGB picture is, ``(64, 64)``; nowhere if none stands out."""
    found = _object(_checked(picture))
    return np.zeros((SIZE, SIZE), bool) if found is None else found[0]


def read_both(picture: NDArray[np.uint8]) -> list[Reading]:
    """Read the objects of one ``(64, 64, 3)`` RGB picture of two, the larger first; fewer where there are fewer.

    The objects' colours are the two, beside the background's, that most pixels with neighbours of their own colour are
    nearest to. An object is where a pixel lies on the line from the background to its colour, past the middle; so
    a pixel on the rim of one, between two colours, isn't taken for the other.
    """
    pixels = _checked(picture)
    ground, background = _ground(pixels)
    names = list(COLOURS)
    nearest = np.linalg.norm(pixels[..., None, :] - _PALETTE, axis=3).argmin(2)
    inner = nearest.copy()
    for axis in (0, 1):
        for turn in (-1, 1):
            inner[np.roll(nearest, turn, axis) != nearest] = -1
    counts = np.array([(inner == number).sum() * (name != background) for number, name in enumerate(names)])
    found = [number for number in counts.argsort()[::-1][:2] if counts[number] >= _LEAST_INNER]
    if not found:
        return []
    directions = np.stack([np.median(pixels[inner == number], axis=0) for number in found]) - ground
    apart = pixels[..., None, :] - ground
    along = (apart * directions).sum(3) / np.square(directions).sum(1)
    beside = np.linalg.norm(apart - along.clip(0, 1)[..., None] * directions, axis=3)
    masks = [(along[..., at] > 0.5) & (beside.argmin(2) == at) for at in range(len(found))]
    readings = [
        _shaped(mask, names[number], background)
        for mask, number in zip(masks, found, strict=True)
        if mask.sum() >= _LEAST_AREA
    ]
    return sorted(readings, key=lambda reading: -reading.radius)


def shows(readings: list[Reading], *items: Scene) -> bool:
    """Whether every object is among the readings, by shape and colour, and is seen to have its shape."""
    seen = {(reading.shape, reading.colour) for reading in readings if reading.overlap >= _LEAST_OVERLAP}
    return all((item.shape, item.colour) in seen for item in items)


def _checked(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    if picture.shape != (SIZE, SIZE, 3):
        raise ValueError(f"a scene is {SIZE} x {SIZE} RGB, not {picture.shape}")
    return picture.astype(np.float32)


def _object(pixels: NDArray[np.float32]) -> tuple[NDArray[np.bool_], str, str] | None:
    """Where the object is, its colour and the background's, or None."""
    ground, background = _ground(pixels)
    apart = np.linalg.norm(pixels - ground, axis=2)
    most = np.percentile(apart, 99)
    if most < _LEAST_CONTRAST:
        return None
    core = np.median(pixels[apart > 0.75 * most], axis=0)
    colour = list(COLOURS)[_nearest(core, _PALETTE)]
    direction = core - ground
    mask = (pixels - ground) @ direction / (direction @ direction) > 0.5
    return None if colour == background or mask.sum() < _LEAST_AREA else (mask, colour, background)


def _ground(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], str]:
    """The background's colour, as it is and by name."""
    edge = np.ones((SIZE, SIZE), bool)
    edge[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    ground = np.median(pixels[edge], axis=0)
    return ground, list(COLOURS)[_nearest(ground, _PALETTE)]


def _shaped(mask: NDArray[np.bool_], colour: str, background: str) -> Reading:
    """The reading whose ideal shape overlaps a mask best."""
    overlap, shape, x, y, radius = max((_fit(mask, shape) for shape in SHAPES), key=lambda fit: fit[0])
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
