"""Where a model comes from, as one string: ``builtin:NAME``, ``org/name@revision``, a folder, or an fsspec URI."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

BUILTIN = ("stable-diffusion", "blip", "controlnet", "t2i-adapter", "clip")
"""Models that are part of the package."""


class Origin(StrEnum):
    """Kind of place that a model is loaded from."""

    BUILTIN = "builtin"
    HUB = "hub"
    FOLDER = "folder"
    URI = "uri"


class ModelRef(str):
    """A model's name, checked for form alone: nothing is opened before a worker loads it."""

    __slots__ = ()

    @property
    def origin(self) -> Origin:
        """Kind of place."""
        if self.startswith("builtin:"):
            return Origin.BUILTIN
        if "://" in self:
            return Origin.URI
        looks_local = self.startswith((".", "/", "~")) or Path(self).exists()
        return Origin.FOLDER if looks_local else Origin.HUB

    @property
    def location(self) -> str:
        """The name without ``builtin:`` and ``@revision``."""
        if self.origin is Origin.BUILTIN:
            return self.removeprefix("builtin:")
        return self.rpartition("@")[0] or str(self) if self.origin is Origin.HUB else str(self)

    @property
    def folder(self) -> Path:
        """The path of a model that is a folder."""
        return Path(self).expanduser()

    @property
    def is_there(self) -> bool:
        """Whether a model that is a folder is on this machine."""
        return self.folder.is_dir()

    @property
    def revision(self) -> str | None:
        """The pinned revision of a hub model."""
        name, _, revision = self.rpartition("@")
        return revision if self.origin is Origin.HUB and name else None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Check a name's form.

        Raises:
            ValueError: it can't be a model.
        """
        ref = cls(text)
        if ref.origin is Origin.BUILTIN and ref.location not in BUILTIN:
            raise ValueError(f"there is no built-in model {text!r}; there are {', '.join(map(repr, _builtin_names()))}")
        if ref.origin is Origin.HUB and len(ref.location.split("/")) != 2:
            raise ValueError(
                f"{text!r} is no model: give `builtin:NAME`, a hub id as `org/name@revision`, a folder, or a URI"
            )
        return ref

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A string in files and schemas, a ModelRef in Python."""
        return core_schema.no_info_after_validator_function(
            cls.parse, core_schema.str_schema(), serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


def _builtin_names() -> list[str]:
    return [f"builtin:{name}" for name in BUILTIN]
