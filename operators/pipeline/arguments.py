"""From a table's columns to the arguments of a pipeline's call."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from operators import columns
from operators.base import Column, required
from operators.diffusion.operator import check_finite
from operators.errors import RowError
from operators.images import decode, decode_all
from operators.pipeline.signature import Listing, Parameter
from operators.pipeline.spec import Pipeline
from operators.tensors import unpack

_MASK = "mask"
_FEW_STEPS = 4
"""For a probe; some schedulers refuse fewer."""


@dataclass(frozen=True)
class Picture:
    """A picture of a row, encoded, whose pixels are known to be sound; its size is ``(width, height)``."""

    encoded: dict[str, Any]
    size: tuple[int, int]
    grey: bool
    max_pixels: int

    def decoded(self) -> Image.Image:
        """The pixels, in RGB or grey."""
        return _toned(decode(self.encoded, max_pixels=self.max_pixels), self.grey)


@dataclass(frozen=True)
class Row:
    """What one row gives to the call: a seed, and values that are texts, numbers, pictures and tensors, by argument."""

    seed: int
    values: dict[str, Any]

    def decoded(self) -> Row:
        """The row with the pixels of its pictures."""
        return Row(
            self.seed,
            {name: value.decoded() if isinstance(value, Picture) else value for name, value in self.values.items()},
        )


class Arguments:
    """The arguments of one pipeline's call.

    Args:
        spec: names columns and constants.
        parameters: of the call.
        device: where tensors go.
        dtype: what they become.
    """

    def __init__(
        self, spec: Pipeline, parameters: dict[str, Parameter], device: torch.device, dtype: torch.dtype
    ) -> None:
        self._spec, self._parameters, self._device, self._dtype = spec, parameters, device, dtype
        self._columns = {name: v.column for name, v in spec.arguments.items() if isinstance(v, Column)}
        self._constants = {name: v for name, v in spec.arguments.items() if not isinstance(v, Column)}

    def rows(self, table: pa.Table, seeds: Sequence[int | None], batch_rows: int) -> list[Row | RowError]:
        """What every row gives, or why it can't.

        Pictures are decoded to see that they are sound, but kept as they are: all of a table's pixels are too many.
        """
        given = {name: list(self._read(name, table[column], batch_rows)) for name, column in self._columns.items()}
        return [self._row(seed, {name: read[at] for name, read in given.items()}) for at, seed in enumerate(seeds)]

    def group(self, row: Row) -> Hashable:
        """What rows of one call have in common: single values, sizes of pictures, shapes of tensors."""
        return tuple((name, _common(value, self._listing(name, value))) for name, value in row.values.items())

    def regime(self, row: Row) -> Hashable:
        """What decides which way a pipeline's code goes: of numbers, whether they are above 1, as guidance must be."""
        single = {name: value for name, value in row.values.items() if self._listing(name, value) is Listing.NEVER}
        return tuple((name, value > 1 if _is_number(value) else value) for name, value in single.items())

    def call(self, rows: Sequence[Row], generators: list[torch.Generator]) -> dict[str, Any]:
        """The arguments for some rows of one group, one of the rows' generators for each."""
        given = dict(self._constants)
        for name, value in self._constants.items():
            given[name] = self._joined(name, [value] * len(rows))
        for name in self._columns:
            given[name] = self._joined(name, [row.values[name] for row in rows])
        if "generator" in self._parameters:
            given["generator"] = generators if len(rows) > 1 else generators[0]
        if "batch_size" in self._parameters:
            given["batch_size"] = len(rows)
        return given

    def few_steps(self, given: dict[str, Any]) -> dict[str, int]:
        """Arguments that make a call short."""
        names = [name for name in self._parameters if name == "steps" or name.endswith("num_inference_steps")]
        asked = {name: given.get(name, self._parameters[name].default) for name in names}
        return {name: min(_FEW_STEPS, n) if isinstance(n, int) else _FEW_STEPS for name, n in asked.items()}

    def _read(self, name: str, column: pa.ChunkedArray, batch_rows: int) -> Iterator[Any]:
        if columns.is_tensor(column.type):
            yield from (self._tensor(array) if isinstance(array, np.ndarray) else array for array in unpack(column))
        elif columns.is_image(column.type):
            for first in range(0, len(column), batch_rows):
                yield from self._pictures(column.slice(first, batch_rows), _MASK in name)
        else:
            yield from column.to_pylist()

    def _pictures(self, column: pa.ChunkedArray, grey: bool) -> Iterator[Picture | RowError]:
        limit = self._spec.max_pixels
        for picture, encoded in zip(decode_all(column, max_pixels=limit), column.to_pylist(), strict=True):
            yield picture if isinstance(picture, RowError) else Picture(encoded, picture.size, grey, limit)

    def _tensor(self, array: Any) -> Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(self._device, self._dtype)

    def _row(self, seed: int | None, values: dict[str, Any]) -> Row | RowError:
        for value in values.values():
            if isinstance(value, RowError):
                return value
        try:
            checked = {name: required(value, name) for name, value in values.items()}
            check_finite(checked)
            return Row(required(seed, "seed"), checked)
        except RowError as error:
            return error

    def _joined(self, name: str, values: list[Any]) -> Any:
        if isinstance(values[0], Tensor):
            return torch.stack(values)
        match self._listing(name, values[0]):
            case Listing.ALWAYS:
                return values
            case Listing.MAYBE if len(values) > 1:
                return values
        return values[0]

    def _listing(self, name: str, value: Any) -> Listing:
        parameter = self._parameters[name]
        match value:
            case str():
                return parameter.listing(("str",), Listing.MAYBE)
            case bool():
                return Listing.NEVER
            case int() | float():
                # A list of numbers where one would do is for several networks, not for several rows.
                several = parameter.listing(("int", "float"), Listing.NEVER)
                return Listing.NEVER if several is Listing.MAYBE else several
            case Picture() | Image.Image():
                # Many pipelines take lists of pictures though they say that they take one: a probe will tell.
                several = parameter.listing((Image.Image.__name__,), Listing.MAYBE)
                return Listing.MAYBE if several is Listing.NEVER else several
            case Tensor():
                return Listing.MAYBE
        return Listing.NEVER


def altered(row: Row) -> Row:
    """Another row that goes with one into a batch, but differs in its noise, texts, pictures and tensors."""
    return Row(row.seed ^ 1, {name: _altered(value) for name, value in row.values.items()})


def _altered(value: Any) -> Any:
    match value:
        case str():
            return f"something else than that: {value}"
        case Image.Image():
            return Image.eval(value, lambda level: 255 - level)
        case Tensor():
            return -value
    return value


def _common(value: Any, listing: Listing) -> Hashable:
    if isinstance(value, Picture):
        return value.size
    if isinstance(value, Tensor):
        return value.shape
    common: Hashable = value if listing is Listing.NEVER else None
    return common


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _toned(image: Image.Image, grey: bool) -> Image.Image:
    return image.convert("L") if grey else image
