"""Steps that can be planned and never run: an operator with two methods, and one that adds and reads tensors."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import ConfigDict, Field

from operators import Spec, columns
from operators.base import Kind
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
