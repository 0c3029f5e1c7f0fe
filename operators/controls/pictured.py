"""What controls have in common that are steered by a picture of every row, and those that have a network for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

import pyarrow as pa
from pydantic import Field, model_validator

from operators.base import Column, Kind
from operators.controls.base import Control, ControlSpec
from operators.errors import RowError, ValueInvalidError
from operators.images import MAX_PIXELS, decode_all
from operators.models.loading import ModelFiles
from operators.models.ref import ModelRef

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from operators.diffusion.family import StableDiffusion

_DECODED_AT_ONCE = 16

Share = Annotated[float, Field(ge=0, le=1)]

Row = dict[str, Any]
"""Options of a row by name, ``shown``, what is kept of its picture, and ``size``, the width and height it becomes."""


class PicturedSpec(ControlSpec, ABC):
    """A control that reads a column of pictures."""

    image: Annotated[str, Field(min_length=1)] = Field("image", description="column of pictures")
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="a picture with more pixels is rejected")

    @property
    def pictures(self) -> str:
        """The column that is read."""
        return self.image

    def reads(self) -> dict[str, Kind]:
        """The pictures, and the columns that options name."""
        return {self.pictures: Kind.IMAGE, **super().reads()}


class NetworkSpec(PicturedSpec, ABC):
    """A control by a network of its own, whose answer is added to what the step's network computes."""

    per_row: ClassVar[dict[str, Kind]] = {"scale": Kind.NUMBER, "start": Kind.NUMBER, "end": Kind.NUMBER}
    repeatable: ClassVar[bool] = True
    network: ClassVar[str]
    """Its class in diffusers."""

    model: ModelRef = Field(description="trained for the step's own model")
    image: Annotated[str, Field(min_length=1)] = Field(
        "condition_image",
        description="column of condition pictures, as the model was trained on; scaled and cropped to width x height",
    )
    scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column = Field(1.0, description="how strongly")
    start: Share | Column = Field(0.0, description="share of the steps after which it begins, 0..1")
    end: Share | Column = Field(1.0, description="share of the steps after which it ends, 0..1")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not isinstance(self.start, Column) and not isinstance(self.end, Column):
            check_range(self.start, self.end)
        return self

    def models(self) -> tuple[ModelRef, ...]:
        """The network's."""
        return (self.model,)

    def stage(self, allow_pickle: bool) -> None:
        """Have the network's files on this machine; errors as in :meth:`operators.base.Spec.stage`."""
        self.files(allow_pickle)

    def digests(self, allow_pickle: bool) -> dict[str, str]:
        """SHA-256 of the network's weights; errors as in :meth:`operators.base.Spec.stage`."""
        return {str(self.model): self.files(allow_pickle).digest}

    def files(self, allow_pickle: bool) -> ModelFiles:
        """The network's files on this machine.

        Raises:
            ModelError: they can't be had, or are those of another kind of network.
        """
        files = ModelFiles(self.model, allow_pickle=allow_pickle)
        found = files.json("config.json").get("_class_name")
        if found != self.network:
            raise files.refuse(f"is a {found}; the control {self.kind} takes a {self.network}")
        return files


def check_range(start: float, end: float) -> None:
    """Refuse a range of steps that has none.

    Raises:
        ValueError: it begins where it ends, or behind.
    """
    if start >= end:
        raise ValueError(f"start is {start}, but must be below end, which is {end}")


S = TypeVar("S", bound=PicturedSpec)


class Pictured(Control[S, Row], ABC):
    """A loaded control that is steered by pictures."""

    @abstractmethod
    def shown(self, picture: Image, width: int, height: int) -> Tensor:
        """What is kept of a row's picture, on the CPU, for a row that becomes ``width`` x ``height`` pixels.

        Raises:
            RowError: it can't be used.
        """

    def fit(
        self, asked: list[Row | RowError], table: pa.Table, sizes: Sequence[tuple[int, int] | None]
    ) -> list[Row | RowError]:
        """The rows with what is kept of their pictures, which are decoded a few at a time."""
        pictures = table[self.spec.pictures]
        fitted: list[Row | RowError] = []
        for first in range(0, table.num_rows, _DECODED_AT_ONCE):
            part = pictures.slice(first, _DECODED_AT_ONCE)
            for picture in decode_all(part, max_pixels=self.spec.max_pixels):
                row = len(fitted)
                fitted.append(self._fitted(asked[row], picture, sizes[row]))
        return fitted

    def _fitted(self, asked: Row | RowError, picture: Any, size: tuple[int, int] | None) -> Row | RowError:
        for found in (asked, picture):
            if isinstance(found, RowError):
                return found
        if size is None or isinstance(asked, RowError):
            return asked
        try:
            return {**asked, "shown": self.shown(picture, *size), "size": size}
        except RowError as error:
            return error


N = TypeVar("N", bound=NetworkSpec)


class Networked(Pictured[N], ABC):
    """A loaded control by a network of its own.

    Args:
        spec: of the control.
        family: the model that it controls.
        files: of the network.
    """

    def __init__(self, spec: N, family: StableDiffusion, files: ModelFiles) -> None:
        super().__init__(spec, family)
        self._files = files

    def digests(self) -> dict[str, str]:
        """SHA-256 of the network's weights."""
        return {str(self.spec.model): self._files.digest}

    def prepare(self, table: pa.Table, texts: Sequence[tuple[str, ...] | None]) -> list[Row | RowError]:
        """Options of the rows, those refused whose range of steps has none."""
        return [_in_order(row) for row in super().prepare(table, texts)]


def _in_order(row: Row | RowError) -> Row | RowError:
    if isinstance(row, RowError):
        return row
    try:
        check_range(row["start"], row["end"])
    except ValueError as error:
        return ValueInvalidError(str(error))
    return row
