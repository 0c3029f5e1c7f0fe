"""What the methods of ``condition`` have in common: their options, and the pictures into a batch and out of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Self, TypeVar

import pyarrow as pa
from PIL import Image, ImageOps
from pydantic import Field, model_validator

from operators import columns
from operators.base import Column, Kind, Operator, Produced, Spec, column_options
from operators.controls.base import row_options
from operators.diffusion.sizes import WIDEST
from operators.errors import ModelError, RowError
from operators.images import MAX_PIXELS, Encoding, decode_all, encode_all
from operators.models.loading import ModelFiles
from operators.models.ref import ModelRef

Pixels = Annotated[int, Field(ge=1, le=WIDEST)] | Column | None

_SIZE = {"width": Kind.INTEGER, "height": Kind.INTEGER}


class Condition(Spec, ABC):
    """Make condition pictures of a column of pictures."""

    kind: ClassVar[str] = "condition"
    per_row: ClassVar[dict[str, Kind]] = {}
    """Options of the method's own that a column may hold, and what it must hold."""

    method: str = Field(description="what to draw of a picture")
    image: Annotated[str, Field(min_length=1)] = Field("image", description="column of pictures")
    width: Pixels = Field(
        None, description="pixels, pictures are scaled and cropped to width x height first; their own unless given"
    )
    height: Pixels = Field(None, description="pixels, as for the width")
    output: Annotated[str, Field(min_length=1)] = Field("condition_image", description="column to add")
    format: Encoding = Field(Encoding.PNG, description="of the pictures")
    quality: int = Field(95, ge=1, le=100, description="of jpeg and webp")
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="a picture with more pixels is rejected")

    @model_validator(mode="after")
    def _whole_size(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("give width and height, or neither: a picture's own size is kept then")
        return self

    @property
    def row_options(self) -> dict[str, Kind]:
        """Options that a column may hold, and what it must hold."""
        return self.per_row if self.width is None else self.per_row | _SIZE

    def reads(self) -> dict[str, Kind]:
        """The pictures, and the columns that options name."""
        return {self.image: Kind.IMAGE, **column_options(self, self.row_options)}

    def writes(self) -> dict[str, pa.DataType]:
        """The condition pictures."""
        return {self.output: columns.IMAGE}

    @abstractmethod
    def conditioner(self) -> type[Conditioner[Any]]:
        """What :meth:`load` makes."""

    def load(
        self,
        step: str | None = None,
        batch_rows: int = 16,
        device: str | None = None,
        compiled: bool = False,  # noqa: ARG002
    ) -> Conditioner[Any]:
        """Load the method; arguments and errors as in :meth:`Spec.load`."""
        return self.conditioner()(self, step, batch_rows, device)


@dataclass(frozen=True)
class Given:
    """One row: its picture, encoded, and its options by name."""

    picture: Mapping[str, Any] | None
    options: dict[str, Any]


C = TypeVar("C", bound=Condition)


class Conditioner(Operator[C, Given], ABC):
    """A loaded method. Pictures are decoded a batch at a time: they may be large.

    Args:
        spec: of the method.
        step: name of the step.
        batch_rows: rows that are drawn at once.
        device: where a network runs, if there is one.
    """

    def __init__(self, spec: C, step: str | None = None, batch_rows: int = 16, device: str | None = None) -> None:  # noqa: ARG002
        super().__init__(spec, step, batch_rows)

    @abstractmethod
    def drawn(self, pictures: list[Image.Image], options: list[dict[str, Any]]) -> list[Image.Image]:
        """What becomes of pictures, each at its own size, and with its own options."""

    def check(self, options: dict[str, Any]) -> None:
        """Refuse options of a row that contradict each other.

        Raises:
            RowError: they do.
        """

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Given | RowError]:  # noqa: ARG002
        """Check the options of every row."""
        pictures = table[self.spec.image].to_pylist()
        asked = row_options(self.spec, self.spec.row_options, table)
        return [self._given(*row) for row in zip(pictures, asked, strict=True)]

    def run(self, batch: list[Given]) -> Produced:
        """Draw a batch; a picture that can't be decoded costs its own row."""
        found = decode_all(pa.array([row.picture for row in batch], columns.IMAGE), max_pixels=self.spec.max_pixels)
        errors = {row: one for row, one in enumerate(found) if isinstance(one, RowError)}
        good = [row for row in range(len(batch)) if row not in errors]
        options = [batch[row].options for row in good]
        decoded = (one for one in found if not isinstance(one, RowError))
        sized = [_sized(one, batch[row].options) for one, row in zip(decoded, good, strict=True)]
        written = encode_all(self.drawn(sized, options) if good else [], self.spec.format, self.spec.quality)
        places: list[int | None] = [None] * len(batch)
        for place, row in enumerate(good):
            places[row] = place
        return Produced({self.spec.output: written.take(pa.array(places, pa.int64()))}, errors)

    def _given(self, picture: Any, options: dict[str, Any] | RowError) -> Given | RowError:
        if isinstance(options, RowError):
            return options
        try:
            self.check(options)
        except RowError as error:
            return error
        return Given(picture, options)


class ModelCondition(Condition, ABC):
    """A method that a network of transformers is asked for."""

    allow_pickle: bool = Field(False, description="take weights that are a pickle; reading one can run any code")

    @abstractmethod
    def models(self) -> tuple[ModelRef, ...]:
        """The models that are asked, each in a folder of its own."""

    def stage(self) -> None:
        """Have the models' files on this machine; errors as in :meth:`Spec.stage`."""
        for model in self.models():
            self.files(model)

    def digests(self) -> dict[str, str]:
        """SHA-256 of each model's weights; errors as in :meth:`Spec.stage`."""
        return {str(model): self.files(model).digest for model in self.models()}

    def files(self, model: ModelRef) -> ModelFiles:
        """A model's files on this machine."""
        return ModelFiles(model, allow_pickle=self.allow_pickle)


M = TypeVar("M", bound=ModelCondition)


class ModelConditioner(Conditioner[M], ABC):
    """A loaded method with networks.

    Raises:
        ModelError: one can't be had.
    """

    def __init__(self, spec: M, step: str | None = None, batch_rows: int = 16, device: str | None = None) -> None:
        super().__init__(spec, step, batch_rows, device)
        self._files = [spec.files(model) for model in spec.models()]

    def digests(self) -> dict[str, str]:
        """SHA-256 of each network's weights, by the model's name."""
        return {str(files.ref): files.digest for files in self._files}


def check_installed() -> None:
    """Refuse where the library is missing that finds edges and poses.

    Raises:
        ModelError: it is.
    """
    if find_spec("skimage") is None:
        raise ModelError("this needs scikit-image: pip install 'latentmill[conditions]'")


def _sized(picture: Image.Image, options: dict[str, Any]) -> Image.Image:
    if "width" not in options:
        return picture
    return ImageOps.fit(picture, (options["width"], options["height"]), Image.Resampling.LANCZOS)
