"""What an export is to be."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from jobs.export.instruction import placeholders

_PERCENTAGE = r"^\d+(\.\d+)?%$"


class Preset(StrEnum):
    """Whose columns a dataset has."""

    INSTRUCT_PIX2PIX = "instruct_pix2pix"
    DIFFUSERS = "diffusers"
    ULTRAEDIT = "ultraedit"
    MAGICBRUSH = "magicbrush"
    TEXT_TO_IMAGE = "text_to_image"
    CONTROLNET = "controlnet"
    COLUMNS = "columns"


class Layout(StrEnum):
    """How a dataset's files are laid out."""

    PARQUET = "parquet"
    IMAGEFOLDER = "imagefolder"
    WEBDATASET = "webdataset"


def _template(text: str) -> str:
    placeholders(text)
    return text


Split = Annotated[str, Field(pattern=r"^\w+$")]


class Options(BaseModel):
    """What an export is to be.

    Raises:
        pydantic.ValidationError: a value is wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Annotated[Preset, Field(description="whose columns the dataset has; `columns` for your own alone")]
    columns: Annotated[
        dict[str, str], Field(description="the sink's column for a column of the dataset, before the preset's own")
    ] = {}
    format: Annotated[Layout, Field(description="how the dataset's files are laid out")] = Layout.PARQUET
    split: Annotated[Split, Field(description="name of the split")] = "train"
    validation: Annotated[str, Field(pattern=_PERCENTAGE)] | None = Field(
        None, description="share of source rows, as in 1%, that go to a split `validation`"
    )
    instruction: Annotated[str, AfterValidator(_template)] | None = Field(
        None, description="words of the instructions, with {from}, {to}, {original_prompt} or {edited_prompt}"
    )
    license: Annotated[str | None, Field(description="licence of the dataset, as the hub calls it")] = None
    source_license: Annotated[str | None, Field(description="licence of what the job read")] = None
    lineage: Annotated[bool, Field(description="keep the columns that lead back to the source")] = True
    shard_rows: Annotated[int, Field(ge=1)] | None = Field(
        None, description="rows of a file at the most; so many that it has about 128 MB unless given"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.preset is Preset.COLUMNS and not self.columns:
            raise ValueError("the preset `columns` is your own columns: name some")
        if self.validation is not None and self.split == VALIDATION:
            raise ValueError(f"the split is called {VALIDATION!r} already; give it another name")
        return self

    @property
    def share(self) -> float:
        """Of source rows that go to the validation split, 0..1."""
        return 0.0 if self.validation is None else float(self.validation.removesuffix("%")) / 100


VALIDATION = "validation"
"""The split beside the one that is named."""
