"""Methods that draw lines without a network, one picture in a thread of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from operators.condition.base import Condition, Conditioner, check_installed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

C = TypeVar("C", bound=Condition)


class EdgeConditioner(Conditioner[C], ABC):
    """A loaded method that draws white lines on black.

    Raises:
        ModelError: the library that finds edges isn't installed.
    """

    def __init__(self, spec: C, step: str | None = None, batch_rows: int = 16, device: str | None = None) -> None:
        check_installed()
        super().__init__(spec, step, batch_rows, device)

    @abstractmethod
    def lines(self, picture: Image.Image, options: dict[str, Any]) -> NDArray[np.uint8]:
        """How strongly every pixel ``(h, w)`` is on a line, 0 to 255."""

    def drawn(self, pictures: list[Image.Image], options: list[dict[str, Any]]) -> list[Image.Image]:
        """The lines of every picture."""
        import torch

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return list(map(Image.fromarray, pool.map(self.lines, pictures, options)))


def surroundings_above(picture: Image.Image, near: float, far: float, weight: float = 1.0) -> NDArray[np.float64]:
    """How much darker pixels are than what surrounds them: a difference of Gaussians (Marr and Hildreth 1980).

    Args:
        picture: in RGB.
        near: deviation in pixels of the Gaussian that pixels are smoothed by.
        far: the same of their surroundings.
        weight: of the surroundings.

    Returns:
        ``(h, w)`` in brightness, -1 to 1 at a weight of 1; of the color that differs most.
    """
    import numpy as np
    from skimage.filters import gaussian

    pixels = np.asarray(picture, np.float64) / 255
    smooth, around = (gaussian(pixels, sigma, mode="nearest", channel_axis=-1) for sigma in (near, far))
    above: NDArray[np.float64] = (weight * around - smooth).max(-1)
    return above
