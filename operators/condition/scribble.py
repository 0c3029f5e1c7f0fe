"""Scribbles: thick strokes where a picture is darker than what surrounds it."""

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

_SMOOTH = 0.5
"""Deviation in pixels that pixels are smoothed by ahead of the comparison."""


class Scribble(Condition):
    """Draw thick strokes, as by hand, by a threshold on a difference of Gaussians."""

    per_row: ClassVar[dict[str, Kind]] = {"threshold": Kind.NUMBER, "sigma": Kind.NUMBER}

    method: Literal["scribble"] = Field("scribble", description="what to draw of a picture")
    threshold: Annotated[float, Field(ge=0, le=255)] | Column = Field(
        16.0, description="how much darker than its surroundings a stroke is, in steps of 8 bits"
    )
    sigma: Annotated[float, Field(gt=_SMOOTH, le=100)] | Column = Field(
        5.0,
        description="deviation in pixels of the Gaussian that surroundings are averaged by; more for thicker strokes",
    )

    def conditioner(self) -> type[ScribbleConditioner]:
        """What draws."""
        return ScribbleConditioner


class ScribbleConditioner(EdgeConditioner[Scribble]):
    """Loaded scribbles."""

    def lines(self, picture: Image.Image, options: dict[str, Any]) -> NDArray[np.uint8]:
        """255 on strokes, 0 elsewhere."""
        import numpy as np

        darker = surroundings_above(picture, _SMOOTH, options["sigma"])
        strokes: NDArray[np.uint8] = np.where(darker * 255 > options["threshold"], 255, 0).astype(np.uint8)
        return strokes
