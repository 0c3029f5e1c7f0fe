"""Steps for tests: some that can be planned and never run, and one that fails where it is told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import ConfigDict, Field

from operators import Spec, columns
from operators.base import Kind, Operator, Produced
from operators.errors import ImageMissingError, NotFiniteError, RowError, ValueInvalidError
from operators.models.ref import ModelRef


class Planned(Spec):
    """A step that is never loaded."""

    kind: ClassVar[str] = "planned"

    model: ModelRef | None = None

    def reads(self) -> dict[str, Kind]:
        return {}

    def writes(self) -> dict[str, pa.DataType]:
        return {}

    def models(self) -> tuple[ModelRef, ...]:
        return () if self.model is None else (self.model,)

    def load(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


class Latents(Planned):
    """Adds latents, and says whose they are."""

    kind: ClassVar[str] = "latents"

    def writes(self) -> dict[str, pa.DataType]:
        return {"latents": columns.TENSOR}

    def describes(self) -> dict[str, dict[str, str]]:
        return {"latents": {"model": "builtin:stable-diffusion"}}


class Read(Planned):
    """Reads latents."""

    kind: ClassVar[str] = "read"

    def reads(self) -> dict[str, Kind]:
        return {"latents": Kind.TENSOR}


class Blend(Planned):
    """What both methods have."""

    model_config = ConfigDict(populate_by_name=True)

    kind: ClassVar[str] = "blend"

    from_: str = Field(alias="from", description="what is there")
    amount: float = Field(0.5, description="how much of it")


class Mixed(Blend):
    """Mix two pictures."""

    method: Literal["mixed"] = "mixed"
    mask_threshold: float = Field(0.3, description="where to mix")


class FadedOut(Blend):
    """Fade a picture out."""

    method: Literal["faded_out"] = "faded_out"
    seconds: int = Field(3, description="how long it takes")


class Fragile(Spec):
    """Adds a number that is drawn from the row's seed; rows that a file in a folder is named after fail."""

    kind: ClassVar[str] = "fragile"

    broken: str
    """The folder; a file in it is called as the row's id, with ``+`` for ``/``, and holds the code of the failure."""
    to: tuple[str, ...] = ()
    output: str = "drawn"

    def reads(self) -> dict[str, Kind]:
        return {"n": Kind.INTEGER}

    def writes(self) -> dict[str, pa.DataType]:
        return {self.output: pa.int64()}

    def branches(self) -> tuple[str, ...]:
        return self.to

    def load(self, step: str | None = None, batch_rows: int = 16, *_: Any, **__: Any) -> FragileOperator:
        return FragileOperator(self, step, batch_rows)


class FragileOperator(Operator[Fragile, int]):
    """Loaded :class:`Fragile`."""

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[int | RowError]:
        ids = table[columns.ROW_ID].to_pylist()
        codes = [Path(self.spec.broken, row_id.replace("/", "+")) for row_id in ids]
        return [
            _FAILURES[c.read_text()]("as asked") if c.exists() else seed for c, seed in zip(codes, seeds, strict=True)
        ]

    def run(self, batch: list[int]) -> Produced:
        return Produced({self.spec.output: [seed % 1000 for seed in batch]})


_FAILURES = {kind.code: kind for kind in (ImageMissingError, NotFiniteError, ValueInvalidError)}
