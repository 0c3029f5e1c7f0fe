"""What a ``pipeline`` step does: which pipeline, with what for its arguments, and what comes out."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import pyarrow as pa
from pydantic import ConfigDict, Field, JsonValue, model_validator

from operators import columns
from operators.base import Column, Kind, Spec, column_options
from operators.images import MAX_PIXELS, Encoding
from operators.marks.marker import Marks, MarksOption
from operators.models.loading import ModelFiles, Precision
from operators.models.ref import ModelRef
from operators.pipeline.files import pipeline_files

if TYPE_CHECKING:
    from operators.pipeline.operator import PipelineOperator

Argument = Annotated[Column | JsonValue, Field(union_mode="left_to_right")]
"""A column's value in every row, or one that passes as it is."""

_HOLDS = {
    "prompt": Kind.TEXT,
    "negative_prompt": Kind.TEXT,
    "image": Kind.IMAGE_OR_TENSOR,
    "mask_image": Kind.IMAGE_OR_TENSOR,
    "num_inference_steps": Kind.INTEGER,
    "height": Kind.INTEGER,
    "width": Kind.INTEGER,
    "guidance_scale": Kind.NUMBER,
    "strength": Kind.NUMBER,
}
"""What an argument of this name is in every pipeline; a column for another one may hold any value."""

_GIVEN_OTHERWISE = {
    "generator": "seed",
    "batch_size": "resources.batch_rows",
    "output_type": "produces",
    "return_dict": "produces",
    "num_images_per_prompt": "outputs_per_row",
    "num_videos_per_prompt": "outputs_per_row",
    "num_waveforms_per_prompt": "outputs_per_row",
}


class Product(StrEnum):
    """What a pipeline makes of a row."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    LATENTS = "latents"


class Pipeline(Spec):
    """Run a pipeline of diffusers, by the name of its class, with columns for its arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kind: ClassVar[str] = "pipeline"

    model: ModelRef = Field(description="a model that diffusers has a pipeline for")
    class_: Annotated[str, Field(min_length=1)] | None = Field(
        None, alias="class", description="the pipeline's class in diffusers; the one that the model names unless given"
    )
    arguments: dict[str, Argument] = Field({}, description="of the pipeline's call by name, each a value")
    seed: int | Column | None = Field(
        None,
        description="as in torch.Generator().manual_seed; further outputs of a row count on; the row's unless given",
    )
    produces: Product = Field(Product.IMAGE, description="what comes out: image, audio, video or latents")
    outputs_per_row: int = Field(1, ge=1, le=1000, description="outputs made of every row, each a row of its own")
    output: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="column to add; generated_ and what is produced unless given"
    )
    format: Encoding = Field(Encoding.PNG, description="of pictures")
    quality: int = Field(95, ge=1, le=100, description="of jpeg and webp")
    marks: MarksOption = Marks.FULL
    sample_rate: Annotated[int, Field(ge=1)] | None = Field(
        None, description="of audio, in Hz; the model's own unless given"
    )
    frame_rate: int = Field(8, ge=1, le=1000, description="of video, frames a second")
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="a picture in a column with more pixels is rejected")
    precision: Precision = Field(
        Precision.AUTO, description="of the networks; auto is half on an accelerator, single elsewhere"
    )
    allow_pickle: bool = Field(False, description="take weights that are a pickle; reading one can run any code")

    @model_validator(mode="after")
    def _arguments_are_the_pipelines(self) -> Self:
        for name in self.arguments:
            if name in _GIVEN_OTHERWISE:
                raise ValueError(f"{name} is no argument here: it comes from `{_GIVEN_OTHERWISE[name]}`")
        return self

    @property
    def column(self) -> str:
        """The column that is added."""
        return self.output or f"generated_{self.produces}"

    def reads(self) -> dict[str, Kind]:
        """The columns that arguments and the seed come from."""
        given = {name: value.column for name, value in self.arguments.items() if isinstance(value, Column)}
        taken = {column: _HOLDS.get(name, Kind.VALUE) for name, column in given.items()}
        return {**taken, **column_options(self, {"seed": Kind.INTEGER})}

    def writes(self) -> dict[str, pa.DataType]:
        """What the pipeline makes."""
        return {self.column: columns.TENSOR if self.produces is Product.LATENTS else columns.IMAGE}

    def describes(self) -> dict[str, dict[str, str]]:
        """That audio and video are no pictures."""
        recorded = self.produces in (Product.AUDIO, Product.VIDEO)
        return {self.column: {columns.FEATURE: self.produces.capitalize()}} if recorded else {}

    def branches(self) -> tuple[str, ...]:
        """``0``, ``1``, ... where a row has more outputs than one."""
        return tuple(map(str, range(self.outputs_per_row))) if self.outputs_per_row > 1 else ()

    def models(self) -> tuple[ModelRef, ...]:
        """The pipeline's model."""
        return (self.model,)

    def stage(self) -> None:
        """Have the model's files on this machine; errors as in :meth:`Spec.stage`."""
        self.files()

    def digests(self) -> dict[str, str]:
        """SHA-256 of the weights of all the model's networks; errors as in :meth:`Spec.stage`."""
        return {str(self.model): self.files().digest}

    def files(self) -> ModelFiles:
        """The model's files on this machine."""
        return pipeline_files(self.model, self.allow_pickle)

    def load(
        self,
        step: str | None = None,
        batch_rows: int = 16,
        device: str | None = None,
        compiled: bool = False,  # noqa: ARG002
    ) -> PipelineOperator:
        """Load the pipeline; arguments and errors as in :meth:`Spec.load`."""
        from operators.pipeline.operator import PipelineOperator

        return PipelineOperator(self, step, batch_rows, device)
