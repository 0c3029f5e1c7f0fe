"""The mark that a step leaves in every picture it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field

from operators.marks import xmp
from operators.marks.metadata import Metadata
from operators.marks.xmp import OURS, STALE, SourceType, creator_tool, fitting
from operators.models.ref import ModelRef, Origin


class Marks(StrEnum):
    """What a picture's file says of how it was made."""

    FULL = "full"
    WITHOUT_PROMPT = "without_prompt"
    NONE = "none"


MarksOption = Annotated[
    Marks,
    Field(
        description="what the pictures' XMP says: that a model made them, which one and from what prompt (`full`), all"
        " but the prompt (`without_prompt`), or nothing (`none`); with `none`, a source's own metadata goes as well"
    ),
]


@dataclass(frozen=True)
class Marker:
    """What is the same in all marks of a step.

    Attributes:
        marks: what the marks say.
        model: the model that makes the pictures.
        digest: SHA-256 of its weights.
    """

    marks: Marks
    model: ModelRef
    digest: str

    def __call__(
        self, made: SourceType, prompts: Sequence[str], sources: Sequence[Metadata | None] | None = None
    ) -> list[Metadata]:
        """The metadata of every picture: what is left of its source's, and how it was made; empty for no marks."""
        if self.marks is Marks.NONE:
            return [Metadata()] * len(prompts)
        given = sources or [None] * len(prompts)
        return [self._of(made, prompt, source or Metadata()) for prompt, source in zip(prompts, given, strict=True)]

    def _of(self, made: SourceType, prompt: str, source: Metadata) -> Metadata:
        properties = {
            xmp.SOURCE_TYPE: made.value,
            xmp.SYSTEM: system(self.model),
            xmp.SYSTEM_VERSION: self.model.revision or f"sha256:{self.digest}",
            xmp.CREATOR_TOOL: " ".join(creator_tool()),
        }
        if prompt and self.marks is Marks.FULL:
            properties[xmp.PROMPT] = prompt
        return Metadata(fitting(properties, source.xmp, (*OURS, *STALE)), source.exif, source.icc)


def system(model: ModelRef) -> str:
    """A model's name as anyone may read it: of a folder or URI, the last part."""
    if model.origin in (Origin.FOLDER, Origin.URI):
        return PurePosixPath(model.partition("?")[0]).name
    return str(model).rpartition("@")[0] or str(model)


def asked_for(prompt: str, negative_prompt: str = "") -> str:
    """What the model was told, as one text."""
    return f"{prompt}\nNegative prompt: {negative_prompt}".strip() if negative_prompt else prompt
