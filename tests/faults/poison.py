"""A step that does to a row whatever the row's text says; tests and benchmarks put it into jobs made in Python."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators import Operator, Spec, columns
from operators.base import Kind, Produced
from operators.errors import NotFiniteError, RowError
from operators.images import decode_all
from operators.tensors import pack


class Poisoned(Spec):
    """Gives every row latents, unless its column ``poison`` says otherwise."""

    kind: ClassVar[str] = "poisoned"

    image: str = "image"
    notes: str
    """A folder in which every process that loads the step leaves a file."""

    def reads(self) -> dict[str, Kind]:
        return {self.image: Kind.IMAGE, "poison": Kind.TEXT}

    def writes(self) -> dict[str, pa.DataType]:
        return {"latents": columns.TENSOR, "brightness": pa.float64()}

    def load(self, step: Any = None, batch_rows: int = 16, **_: Any) -> Any:
        Path(self.notes, str(os.getpid())).touch()
        return PoisonedAtWork(self, step, batch_rows)


class PoisonedAtWork(Operator[Poisoned, Any]):
    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Any]:
        pictures = decode_all(table[self.spec.image].combine_chunks())
        poisons = table["poison"].to_pylist()
        return [
            picture if isinstance(picture, RowError) else (np.asarray(picture, np.float32) / 255, poison)
            for picture, poison in zip(pictures, poisons, strict=True)
        ]

    def run(self, batch: list[Any]) -> Produced:
        latents = [np.full((1, 2), picture.mean()) for picture, _ in batch]
        errors: dict[int, RowError] = {}
        for row, (picture, poison) in enumerate(batch):
            match poison:
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "crash":
                    ctypes.string_at(0)
                case "raise":
                    raise ArithmeticError("an odd row")
                case "memory":
                    np.empty((picture.size, 2**48))
                case "nan":
                    errors[row] = NotFiniteError("NaN in the latents")
        means = [float(each.mean()) for each in latents]
        return Produced({"latents": pack(latents), "brightness": means}, errors)
