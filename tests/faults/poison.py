"""A step that does to a row whatever the row's text says, and has no memory for wide pictures."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import signal
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators import Operator, Spec, columns
from operators.base import Kind, Produced
from operators.errors import ModelError, NotFiniteError, RowError
from operators.images import decode_all
from operators.tensors import pack


class Poisoned(Spec):
    """Gives every row latents, unless its column ``poison`` says otherwise."""

    kind: ClassVar[str] = "poisoned"

    image: str = "image"
    notes: str
    """A folder in which every process that loads the step leaves a file."""
    loading: str = ""
    """What happens as it loads."""

    def reads(self) -> dict[str, Kind]:
        return {self.image: Kind.IMAGE, "poison": Kind.TEXT}

    def writes(self) -> dict[str, pa.DataType]:
        return {"latents": columns.TENSOR, "brightness": pa.float64()}

    def load(self, step: Any = None, batch_rows: int = 16, **_: Any) -> Any:
        Path(self.notes, f"{os.getpid()}.started").touch()
        match self.loading:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise ModelError("no weights")
        return PoisonedAtWork(self, step, batch_rows)


class PoisonedAtWork(Operator[Poisoned, Any]):
    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Any]:  # noqa: ARG002
        pictures = decode_all(table[self.spec.image].combine_chunks())
        poisons = table["poison"].to_pylist()
        return [
            picture if isinstance(picture, RowError) else (np.asarray(picture, np.float32) / 255, poison)
            for picture, poison in zip(pictures, poisons, strict=True)
        ]

    def group(self, prepared: Any) -> Hashable:
        return prepared[0].shape

    def run(self, batch: list[Any]) -> Produced:
        for picture, poison in batch:
            height, width, _ = picture.shape
            np.empty(2**56 if width > height else 1)
            match poison:
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "kill once":
                    self._kill_once(picture.tobytes())
                case "crash":
                    ctypes.string_at(0)
                case "raise":
                    raise ArithmeticError("an odd row")
        latents = [np.full((1, 2), picture.mean() * (np.nan if poison == "nan" else 1)) for picture, poison in batch]
        bad = [row for row, each in enumerate(latents) if not np.isfinite(each).all()]
        errors = dict.fromkeys(bad, NotFiniteError("the latents became NaN"))
        means = [float(each.mean()) for each in latents]
        return Produced({"latents": pack(latents), "brightness": means}, errors)

    def _kill_once(self, picture: bytes) -> None:
        with contextlib.suppress(FileExistsError):
            Path(self.spec.notes, f"{hashlib.sha256(picture).hexdigest()}.once").touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
