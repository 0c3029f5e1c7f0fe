"""A step that edits pictures without a model: what loads in no time shows a sink's faults as well."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators import Operator, Spec, columns
from operators.base import Kind, Produced
from operators.errors import RowError
from operators.images import decode_all, encode_all


class Painted(Spec):
    """Makes several pictures of one, each with noise of its own."""

    kind: ClassVar[str] = "painted"

    to: tuple[str, ...]

    def reads(self) -> dict[str, Kind]:
        return {"image": Kind.IMAGE}

    def writes(self) -> dict[str, pa.DataType]:
        return {"edited_image": columns.IMAGE}

    def branches(self) -> tuple[str, ...]:
        return self.to

    def load(self, step: Any = None, batch_rows: int = 16, **_: Any) -> Any:
        return Painting(self, step, batch_rows)


class Painting(Operator[Painted, NDArray[np.uint8]]):
    def prepare(self, table: pa.Table, seeds: list[int]) -> list[NDArray[np.uint8] | RowError]:
        pictures = decode_all(table["image"])
        return [
            picture if isinstance(picture, RowError) else _noisy(np.asarray(picture), seed)
            for picture, seed in zip(pictures, seeds, strict=True)
        ]

    def run(self, batch: list[NDArray[np.uint8]]) -> Produced:
        return Produced({"edited_image": encode_all(np.stack(batch))})


def _noisy(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    return pixels ^ np.random.default_rng(seed).integers(0, 256, pixels.shape, np.uint8)
