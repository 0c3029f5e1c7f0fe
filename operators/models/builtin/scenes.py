"""Rendered scenes: one flat object on a faintly textured background, with its caption and mask known.

The scenes are what the built-in models were trained on, what the source ``builtin:shapes`` yields, and
ground truth for tests: :func:`reading.read` tells from pixels alone what a scene shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

SIZE = 64
"""Width and height of a scene in pixels."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (52, 158, 70),
    "blue": (38, 88, 214),
    "yellow": (250, 208, 46),
    "purple": (142, 60, 184),
    "cyan": (72, 202, 220),
    "black": (28, 28, 34),
    "white": (245, 244, 238),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
TEXTURES = ("plain", "stripes", "dots", "gradient")

TRAINING_SERIES, HELD_OUT_SERIES = 1, 2
"""Series of scenes that the built-in models learnt from, and that their figures are taken on."""

_CONTRAST = 12.0
_RADII = (12.0, 21.0)
_MARGIN = 3.0
_THIRDS = (27.0, 37.0)


@dataclass(frozen=True)
class Scene:
    """What is in one picture. Lengths are in pixels of a 64 x 64 image, angles in radians."""

    shape: str
    colour: str
    background: str
    x: float
    y: float
    radius: float
    texture: str = "plain"
    angle: float = 0.0
    period: float = 10.0

    @property
    def caption(self) -> str:
        """What the captioner says of the scene, word for word."""
        return f"a {self.colour} {self.shape} on a {self.background} background"

    @property
    def place(self) -> str:
        """One of nine places, as in ``top left``, ``top``, ``centre``."""
        return place_of(self.x, self.y)


def captions() -> list[str]:
    """Every caption that a scene can have."""
    return [
        Scene(shape, colour, background, 0, 0, 0).caption
        for shape in SHAPES
        for colour in COLOURS
        for background in COLOURS
        if colour != background
    ]


def place_of(x: float, y: float) -> str:
    """Name the ninth of a 64 x 64 picture that the point ``(x, y)`` lies in."""
    vertical = _third(y, "top", "bottom")
    horizontal = _third(x, "left", "right")
    return f"{vertical} {horizontal}".strip() or "centre"


def _third(value: float, low: str, high: str) -> str:
    return low if value < _THIRDS[0] else high if value > _THIRDS[1] else ""


def scene(index: int, seed: int = 0) -> Scene:
    """The scene number ``index`` of the endless series ``seed``; no other scene has a say in it."""
    rng = np.random.default_rng((seed, index))
    colour, background = rng.choice(list(COLOURS), 2, replace=False)
    radius = rng.uniform(*_RADII)
    reach = radius + _MARGIN
    x, y = rng.uniform(reach, SIZE - reach, 2)
    return Scene(
        shape=str(rng.choice(SHAPES)),
        colour=str(colour),
        background=str(background),
        x=float(x),
        y=float(y),
        radius=float(radius),
        texture=str(rng.choice(TEXTURES)),
        angle=float(rng.uniform(0, np.pi)),
        period=float(rng.uniform(8, 16)),
    )


def coverage(shape: str, x: float, y: float, radius: float) -> NDArray[np.float32]:
    """How much of each pixel the object covers: ``(64, 64)`` in 0..1, from its signed distance."""
    axis = np.arange(SIZE, dtype=np.float32) + 0.5
    px, py = (axis - np.float32(x))[None, :], (axis - np.float32(y))[:, None]
    if shape == "circle":
        distance = np.hypot(px, py) - radius
    elif shape == "ring":
        distance = np.abs(np.hypot(px, py) - 0.74 * radius) - 0.26 * radius
    else:
        distance = _polygon_distance(px, py, _vertices(shape) * radius)
    covered: NDArray[np.float32] = np.clip(0.5 - distance, 0, 1).astype(np.float32)
    return covered


def draw(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """Paint scenes: ``(n, 64, 64, 3)`` RGB."""
    pictures = np.empty((len(scenes), SIZE, SIZE, 3), np.uint8)
    for picture, item in zip(pictures, scenes, strict=True):
        picture[:] = paint([item])
    return pictures


def paint(objects: Sequence[Scene]) -> NDArray[np.uint8]:
    """Paint one picture, ``(64, 64, 3)`` RGB: objects one over the other on the background of the first."""
    item = objects[0]
    painted = np.array(COLOURS[item.background], np.float32) + _texture(item)[..., None]
    for item in objects:
        cover = coverage(item.shape, item.x, item.y, item.radius)[..., None]
        painted = painted + cover * (np.array(COLOURS[item.colour], np.float32) - painted)
    picture: NDArray[np.uint8] = np.clip(painted + 0.5, 0, 255).astype(np.uint8)
    return picture


def masks(scenes: Sequence[Scene]) -> NDArray[np.bool_]:
    """Where the objects are: ``(n, 64, 64)``."""
    return np.stack([coverage(s.shape, s.x, s.y, s.radius) >= 0.5 for s in scenes])


def outlines(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Outlines of masks ``(n, h, w)``: white lines one pixel wide on black, ``(n, h, w, 3)`` RGB.

    A pixel of a line lies in the mask, and one of its four neighbours doesn't.
    """
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    inner = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
    lines = (masks & ~inner).astype(np.uint8) * 255
    return np.repeat(lines[..., None], 3, 3)


@cache
def _vertices(shape: str) -> NDArray[np.float32]:
    if shape == "star":
        turns = np.arange(10) * np.pi / 5 - np.pi / 2
        reach = np.where(np.arange(10) % 2, 0.42, 1.0)
        points = np.stack([np.cos(turns) * reach, np.sin(turns) * reach], 1)
    elif shape == "cross":
        arm = np.array([(-0.3, -1), (0.3, -1), (0.3, -0.3)])
        quarter = np.array([(0, 1), (-1, 0)])
        points = np.concatenate([arm @ np.linalg.matrix_power(quarter, k) for k in range(4)])
    else:
        corners, first = {"square": (4, np.pi / 4), "triangle": (3, -np.pi / 2)}[shape]
        turns = np.arange(corners) * 2 * np.pi / corners + first
        points = np.stack([np.cos(turns), np.sin(turns)], 1)
    return points.astype(np.float32)


def _polygon_distance(
    px: NDArray[np.float32], py: NDArray[np.float32], vertices: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Signed distance to a polygon, negative inside: nearest edge, sign by even-odd crossings."""
    nearest = np.full(np.broadcast_shapes(px.shape, py.shape), np.inf, np.float32)
    inside = np.zeros(nearest.shape, bool)
    for (ax, ay), (bx, by) in zip(vertices, np.roll(vertices, -1, 0), strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((px - ax) * ex + (py - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, np.hypot(px - ax - along * ex, py - ay - along * ey))
        if ey:
            inside ^= ((ay > py) != (by > py)) & (px < ex * (py - ay) / ey + ax)
    return np.where(inside, -nearest, nearest)


def _texture(item: Scene) -> NDArray[np.float32]:
    axis = np.arange(SIZE, dtype=np.float32) + 0.5
    x, y = axis[None, :], axis[:, None]
    u = x * np.float32(np.cos(item.angle)) + y * np.float32(np.sin(item.angle))
    v = y * np.float32(np.cos(item.angle)) - x * np.float32(np.sin(item.angle))
    turn = np.float32(2 * np.pi / item.period)
    patterns = {
        "plain": np.zeros((SIZE, SIZE), np.float32),
        "stripes": np.sin(u * turn),
        "dots": np.sin(u * turn) * np.sin(v * turn),
        "gradient": (u - u.min()) / (u.max() - u.min()) * 2 - 1,
    }
    scaled: NDArray[np.float32] = (patterns[item.texture] * _CONTRAST).astype(np.float32)
    return scaled
