"""Stick figures as OpenPose draws them (Cao et al. 2019), from the joints of COCO."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_FROM_COCO = (0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""OpenPose's joints but the neck by COCO's numbers: nose, right arm, left arm, right leg, left leg, eyes, ears."""

_SHOULDERS = (5, 6)

_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
"""Pairs of OpenPose's joints, of which the neck is number 1."""

_COLORS = tuple(tuple(round(255 * c) for c in colorsys.hsv_to_rgb(joint / 18, 1, 1)) for joint in range(18))
_DIMMED = tuple(tuple(int(0.6 * c) for c in color) for color in _COLORS)

_THICKNESS = 4 / 512
"""Half of a limb's thickness, and the radius of a joint, of the picture's shorter side."""


def stick_figures(people: Iterable[NDArray[np.float32]], size: tuple[int, int], threshold: float) -> Image.Image:
    """A picture of stick figures on black.

    Args:
        people: joints ``(17, 3)`` of each, in COCO's order: x and y in pixels, and how sure.
        size: width and height in pixels.
        threshold: joints that are less sure are left out.
    """
    picture = Image.new("RGB", size)
    canvas = ImageDraw.Draw(picture)
    half = max(1.0, _THICKNESS * min(size))
    bodies = [_openpose(joints) for joints in people]
    for body in bodies:
        for (one, other), color in zip(_LIMBS, _DIMMED[:17], strict=True):
            if min(body[one, 2], body[other, 2]) >= threshold:
                canvas.polygon(_ellipse(body[one, :2], body[other, :2], half), color)
    for body in bodies:
        for (x, y, sure), color in zip(body.tolist(), _COLORS, strict=True):
            if sure >= threshold:
                canvas.ellipse((x - half, y - half, x + half, y + half), color)
    return picture


def _openpose(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 18 joints of OpenPose; the neck is between the shoulders, and as sure as the less sure one."""
    shoulders = joints[list(_SHOULDERS)]
    neck = np.append(shoulders[:, :2].mean(0), shoulders[:, 2].min())
    return np.insert(joints[list(_FROM_COCO)], 1, neck, 0)


def _ellipse(one: NDArray[np.float32], other: NDArray[np.float32], half: float) -> list[tuple[float, float]]:
    """The outline of an ellipse from one point to another."""
    middle, along = (one + other) / 2, (other - one) / 2
    length = max(float(np.hypot(*along)), 1e-6)
    across = half * np.array([-along[1], along[0]]) / length
    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)[:, None]
    return [(x, y) for x, y in (middle + np.cos(angles) * along + np.sin(angles) * across).tolist()]
