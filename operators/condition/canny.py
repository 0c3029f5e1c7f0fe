"""Edges, one pixel wide (Canny 1986)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from operators.base import Column, Kind
from operators.condition.base import Condition
from operators.condition.edges import EdgeConditioner
from operators.errors import ValueInvalidError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

Gradient = Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column


class Canny(Condition):
    """Draw edges, one pixel wide."""

    per_row: ClassVar[dict[str, Kind]] = {
        "low_threshold": Kind.NUMBER,
        "high_threshold": Kind.NUMBER,
        "sigma": Kind.NUMBER,
    }

    method: Literal["canny"] = Field("canny", description="what to draw of a picture")
    low_threshold: Gradient = Field(
        100.0, description="brightness gradient by Sobel, of 8 bits, that goes on an edge which began"
    )
    high_threshold: Gradient = Field(200.0, description="the same that an edge begins at")
    sigma: Annotated[float, Field(ge=0, le=100)] | Column = Field(
        0.0, description="deviation in pixels of the Gaussian that smooths the picture first; above 0 against noise"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not isinstance(self.low_threshold, Column) and not isinstance(self.high_threshold, Column):
            check_thresholds(self.low_threshold, self.high_threshold)
        return self

    def conditioner(self) -> type[CannyConditioner]:
        """What draws."""
        return CannyConditioner


class CannyConditioner(EdgeConditioner[Canny]):
    """Loaded Canny edges."""

    def check(self, options: dict[str, Any]) -> None:
        """Refuse thresholds in the wrong order."""
        try:
            check_thresholds(options["low_threshold"], options["high_threshold"])
        except ValueError as error:
            raise ValueInvalidError(str(error)) from None

    def lines(self, picture: Image.Image, options: dict[str, Any]) -> NDArray[np.uint8]:
        """255 on edges, 0 elsewhere."""
        import numpy as np
        from skimage.feature import canny

        edges = canny(
            np.asarray(picture.convert("L")),
            sigma=options["sigma"],
            low_threshold=options["low_threshold"],
            high_threshold=options["high_threshold"],
            mode="nearest",
        )
        lines: NDArray[np.uint8] = np.where(edges, 255, 0).astype(np.uint8)
        return lines


def check_thresholds(low: float, high: float) -> None:
    """Refuse thresholds in the wrong order.

    Raises:
        ValueError: they are.
    """
    if low > high:
        raise ValueError(f"low_threshold is {low}, but must not be above high_threshold, which is {high}")
