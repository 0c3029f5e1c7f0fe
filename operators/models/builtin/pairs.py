"""Rendered scenes of two objects: other shapes, other colours, side by side or one above the other.

What a text asks for may be missing from a picture, and a picture with two objects is where that happens: here is
the ground truth for it. The objects never touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from operators.models.builtin.scenes import COLOURS, SHAPES, SIZE, TEXTURES, Scene, paint

_RADII = (9.0, 13.0)
_MARGIN = 3.0
_GAP = 3.0
_SPAWN = 2
"""Keeps the random numbers apart from those of the scenes with one object."""


@dataclass(frozen=True)
class Pair:
    """Two scenes with one background, in the order in which the caption names their objects."""

    first: Scene
    second: Scene

    @property
    def caption(self) -> str:
        """As in ``a red circle and a blue square on a white background``."""
        return f"{self.things} on a {self.first.background} background"

    @property
    def things(self) -> str:
        """The objects alone, as in ``a red circle and a blue square``."""
        return " and ".join(f"a {item.colour} {item.shape}" for item in (self.first, self.second))


def pair(index: int, seed: int = 0) -> Pair:
    """The pair number ``index`` of the endless series ``seed``; no other pair has a say in it."""
    rng = np.random.default_rng((seed, index, _SPAWN))
    shapes = rng.choice(SHAPES, 2, replace=False)
    *colours, background = rng.choice(list(COLOURS), 3, replace=False)
    radii = rng.uniform(*_RADII, 2)
    # Along the axis that parts them each has a share of the room; across it both may lie anywhere.
    spare = SIZE - 2 * _MARGIN - _GAP - 2 * radii.sum()
    before, between = np.sort(rng.uniform(0, spare, 2))
    along = np.array([_MARGIN + before + radii[0], SIZE - _MARGIN - (spare - between) - radii[1]])
    across = rng.uniform(_MARGIN + radii, SIZE - _MARGIN - radii)
    places = np.stack([along, across] if rng.random() < 0.5 else [across, along], 1)
    on_ground = partial(
        Scene,
        background=str(background),
        texture=str(rng.choice(TEXTURES)),
        angle=float(rng.uniform(0, np.pi)),
        period=float(rng.uniform(8, 16)),
    )
    items = [
        on_ground(shape=str(shape), colour=str(colour), x=float(x), y=float(y), radius=float(radius))
        for shape, colour, (x, y), radius in zip(shapes, colours, places, radii, strict=True)
    ]
    one, other = rng.permutation(2)
    return Pair(items[one], items[other])


def draw_pairs(pairs: Sequence[Pair]) -> NDArray[np.uint8]:
    """Paint pairs: ``(n, 64, 64, 3)`` RGB."""
    return np.stack([paint([item.first, item.second]) for item in pairs])
