"""What a job file says of its source."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from operators.likeness import Alike


class Format(StrEnum):
    """How a dataset is stored."""

    PARQUET = "parquet"
    IMAGES = "images"
    WEBDATASET = "webdataset"
    LANCE = "lance"
    TEXT = "text"
    SHAPES = "shapes"
    PIE_BENCH = "pie_bench"


class RowOptions(BaseModel):
    """Which rows and columns of a dataset are taken, whatever it is stored in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: Annotated[
        list[str] | dict[str, str] | None,
        Field(
            min_length=1,
            description="columns to read, in this order; a mapping renames: {new name: name in the source}",
        ),
    ] = None
    id: Annotated[
        str | None,
        Field(
            description="column of text or integers that identifies a row; by default its place does: part-3.parquet#17"
        ),
    ] = None
    limit: Annotated[int | None, Field(ge=1, description="read only the first so many rows")] = None
    image_columns: Annotated[
        list[str] | None,
        Field(
            description="columns, by their new names, that hold pictures as bytes, or as paths or URIs that are then "
            "read, relative ones from the folder of the file that names them; by default the column `image`, if any"
        ),
    ] = None

    dedup: Annotated[
        Alike | None,
        Field(
            description="leave out rows that are the same as another one, by a look at the whole source; see filters"
        ),
    ] = None

    @field_validator("columns")
    @classmethod
    def _each_once(cls, given: list[str] | dict[str, str] | None) -> list[str] | dict[str, str] | None:
        if given is not None and len(set(given)) < len(given):
            raise ValueError("a column is named twice")
        return given

    def projection(self) -> dict[str, str] | None:
        """``{new name: name in the source}``, or None where all columns are taken as they are."""
        return {name: name for name in self.columns} if isinstance(self.columns, list) else self.columns

    def needed(self) -> list[str] | None:
        """Columns of the source that must be read, each once; None for all."""
        projection = self.projection()
        if projection is None:
            return None
        wanted = [*projection.values()] if self.id is None else [*projection.values(), self.id]
        return list(dict.fromkeys(wanted))


class SourceSpec(RowOptions):
    """A dataset, and what to take of it.

    ``builtin:shapes?rows=100&seed=3`` is a dataset that needs no files: rendered scenes, 1000 of the series 0 unless
    ``rows`` and ``seed`` say otherwise.
    """

    uri: Annotated[str, Field(min_length=1, description="file, folder, glob or fsspec URI; or builtin:shapes")]
    format: Annotated[
        Format | None,
        Field(
            description="how the dataset is stored. By default what the names end in says it: .parquet, .tar, .lance, "
            ".txt; a folder without those is a folder of images"
        ),
    ] = None
    snapshot: Annotated[
        int | None, Field(ge=1, description="of a Lance table, the version to read; the newest by default")
    ] = None

    @model_validator(mode="after")
    def _versions_are_of_tables(self) -> Self:
        if self.snapshot is not None and self.format not in (None, Format.LANCE):
            raise ValueError(f"snapshot is for Lance tables, and the format is {self.format}")
        return self
