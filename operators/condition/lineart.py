"""Line drawings: soft lines of a sharpened difference of Gaussians (XDoG, Winnemoeller et al. 2012)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from operators.base import Column, Kind
from operators.condition.base import Condition
from operators.condition.edges import EdgeConditioner, surroundings_above

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_FAR = 1.6
"""How much wider the surroundings are than the pixels compared: near the Laplacian (Marr and Hildreth 1980)."""


class Lineart(Condition):
    """Draw soft lines, white on black, whose strength tells how clear they are."""

    per_row: ClassVar[dict[str, Kind]] = {"threshold": Kind.NUMBER, "sigma": Kind.NUMBER, "sharpness": Kind.NUMBER}

    method: Literal["lineart"] = Field("lineart", description="what to draw of a picture")
    threshold: Annotated[float, Field(ge=0, le=255)] | Column = Field(
        1.0, description="how much darker than its surroundings a line is, in steps of 8 bits"
    )
    sigma: Annotated[float, Field(gt=0, le=100)] | Column = Field(
        1.0, description="deviation in pixels of the Gaussian that pixels are smoothed by; more for coarser lines"
    )
    sharpness: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Column = Field(
        20.0, description="how fast lines become white above the threshold"
    )

    def conditioner(self) -> type[LineartConditioner]:
        """What draws."""
        return LineartConditioner


class LineartConditioner(EdgeConditioner[Lineart]):
    """Loaded line drawings."""

    def lines(self, picture: Image.Image, options: dict[str, Any]) -> NDArray[np.uint8]:
        """The soft threshold ``tanh(sharpness (difference - threshold))``, of eq. 3 turned to white on black."""
        import numpy as np

        darker = surroundings_above(picture, options["sigma"], _FAR * options["sigma"])
        soft = np.tanh(options["sharpness"] * (darker - options["threshold"] / 255)).clip(0)
        lines: NDArray[np.uint8] = (soft * 255).round().astype(np.uint8)
        return lines
