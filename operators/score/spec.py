"""``score``: how well an edit did what it was to do and left the rest alone, or how good a picture is, in numbers."""

from __future__ import annotations

import importlib.util
from typing import Annotated, ClassVar, Self

import pyarrow as pa
from pydantic import Field, model_validator

from operators.base import Column, Kind, Spec
from operators.errors import ModelError
from operators.images import MAX_PIXELS
from operators.models.loading import ModelFiles
from operators.models.ref import ModelRef
from operators.score.metrics import NEEDS, Metric, Network, Reads
from operators.score.operator import Scorer
from operators.score.presets import USUAL, Lpips, Preset, Usual

_Name = Annotated[str, Field(min_length=1)]


class Score(Spec):
    """Measure edits and pictures: adds a column of numbers for each metric, null where it is undefined."""

    kind: ClassVar[str] = "score"
    short: ClassVar[str | None] = "metrics"
    renamed_by: ClassVar[str] = "prefix"

    metrics: tuple[Metric, ...] = Field(
        (), description=f"what to measure: {', '.join(Metric)}; those of the preset unless given"
    )
    preset: Preset | None = Field(
        None, description="`pie_bench` for the definitions, networks and metrics of that benchmark"
    )
    source: _Name = Field("image", description="column of pictures before the edit, scaled and cropped as edits do")
    image: _Name = Field("edited_image", description="column of pictures to measure")
    source_prompt: str | Column = Field(Column(column="caption"), description="what the picture showed before")
    target_prompt: str | Column | None = Field(
        None, description="what the picture shall show; the column IMAGE_prompt, which edits leave, unless given"
    )
    mask: _Name | None = Field(
        None,
        description="column of masks, bright where the edit may change the picture; unless given IMAGE_mask, if it is"
        " there, else all is background; with pie_bench the column `mask`",
    )
    prefix: str = Field("", description="what the names of the columns begin with")
    clip: ModelRef | None = Field(
        None,
        description="a CLIP model, for what is measured against texts; builtin:clip, or with pie_bench"
        " openai/clip-vit-large-patch14, unless given",
    )
    dino: ModelRef | None = Field(
        None,
        description="a vision transformer, for structure; builtin:clip, or with pie_bench facebook/dino-vitb8, unless"
        " given",
    )
    lpips: Annotated[Lpips | ModelRef, Field(union_mode="left_to_right")] | None = Field(
        None,
        description="alex, vgg or squeeze, which LPIPS was released with, or a vision transformer; builtin:clip, or"
        " with pie_bench squeeze, unless given",
    )
    aesthetics: ModelRef | None = Field(
        None, description="linear layers that make a number of CLIP's embedding; the metric aesthetics needs them"
    )
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="a picture with more pixels is rejected")
    allow_pickle: bool = Field(False, description="take weights that are a pickle; reading one can run any code")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.measured:
            raise ValueError(f"say what to measure with `metrics`: {', '.join(Metric)}; or give a `preset`")
        if len(set(self.measured)) < len(self.measured):
            raise ValueError("a metric is named twice")
        if Metric.AESTHETICS in self.measured and self.aesthetics is None:
            raise ValueError("the metric aesthetics needs a model: name one with `aesthetics`")
        return self

    @property
    def usual(self) -> Usual:
        """What stands where options are left open."""
        return USUAL[self.preset]

    @property
    def measured(self) -> tuple[Metric, ...]:
        """What is measured, in this order."""
        return self.metrics or self.usual.metrics

    @property
    def needed(self) -> frozenset[Reads]:
        """What of a row is read."""
        return frozenset(read for metric in self.measured for read in NEEDS[metric].reads)

    @property
    def texts(self) -> dict[Reads, str | Column]:
        """What the texts are, those that are read."""
        default = Column(column=f"{self.image}_prompt")
        told = {Reads.SOURCE_PROMPT: self.source_prompt, Reads.TARGET_PROMPT: self.target_prompt}
        return {which: default if text is None else text for which, text in told.items() if which in self.needed}

    @property
    def pictures(self) -> dict[Reads, str]:
        """Columns of the pictures and masks that are read; without masks, all is background."""
        mask = self.mask or self.usual.mask
        if mask is None and Metric.CLIP_EDITED in self.measured:
            mask = f"{self.image}_mask"
        told = {Reads.SOURCE: self.source, Reads.IMAGE: self.image, Reads.MASK: mask}
        return {which: name for which, name in told.items() if name is not None and which in self.needed}

    @property
    def networks(self) -> dict[Network, ModelRef | Lpips]:
        """What the metrics look with."""
        named = {network for metric in self.measured for network in NEEDS[metric].networks}
        return {
            network: getattr(self, network) or getattr(self.usual, network) for network in Network if network in named
        }

    def settled(self, schema: pa.Schema) -> Self:
        """The step with the mask that the edit left, if it did and none was named."""
        left = f"{self.image}_mask"
        known = self.mask or self.usual.mask
        if known is not None or Reads.MASK not in self.needed or left not in schema.names:
            return self
        return self.model_copy(update={"mask": left}) if Kind.IMAGE.accepts(schema.field(left)) else self

    def reads(self) -> dict[str, Kind]:
        """The pictures, masks and texts that the metrics take."""
        texts = {text.column: Kind.TEXT for text in self.texts.values() if isinstance(text, Column)}
        return {**dict.fromkeys(self.pictures.values(), Kind.IMAGE), **texts}

    def writes(self) -> dict[str, pa.DataType]:
        """The metrics."""
        return {f"{self.prefix}{metric}": pa.float32() for metric in self.measured}

    def models(self) -> tuple[ModelRef, ...]:
        """The networks that the metrics look with, each once."""
        return tuple(dict.fromkeys(model for model in self.networks.values() if isinstance(model, ModelRef)))

    def stage(self) -> None:
        """Have the networks' files on this machine; errors as in :meth:`Spec.stage`."""
        self.refuse_missing()
        self.digests()

    def refuse_missing(self) -> None:
        """See that the packages that metrics take are installed.

        Raises:
            ModelError: one isn't.
        """
        if Metric.BACKGROUND_SSIM in self.measured and importlib.util.find_spec("torchmetrics") is None:
            raise ModelError("background_ssim needs a package that isn't installed: pip install 'latentmill[scores]'")

    def digests(self) -> dict[str, str]:
        """SHA-256 of each network's weights; errors as in :meth:`Spec.stage`."""
        found = {str(model): files.digest for model, files in self.files().items()}
        released = self.networks.get(Network.LPIPS)
        if not isinstance(released, Lpips):
            return found
        from operators.score.perceptual import ReleasedLpips

        return found | {f"lpips:{released}": ReleasedLpips(released).digest}

    def files(self) -> dict[ModelRef, ModelFiles]:
        """The networks' files on this machine."""
        return {model: ModelFiles(model, allow_pickle=self.allow_pickle) for model in self.models()}

    def load(
        self,
        step: str | None = None,
        batch_rows: int = 16,
        device: str | None = None,
        compiled: bool = False,  # noqa: ARG002
    ) -> Scorer:
        """Load the networks; arguments and errors as in :meth:`Spec.load`."""
        return Scorer(self, step, batch_rows, device)
