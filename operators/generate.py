"""``generate``: pictures from text, or from text and a picture, by Stable Diffusion (Rombach et al. 2022)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import pyarrow as pa
from pydantic import AfterValidator, Field, model_validator

from operators import columns
from operators.base import Column, Kind, Produced, column_options, required
from operators.diffusion.controlled import ControlledSpec, Controls
from operators.diffusion.operator import DiffusionOperator, check_finite
from operators.diffusion.schedulers import Sampling, build, check_name
from operators.diffusion.sizes import check_size
from operators.diffusion.spec import Side
from operators.errors import RowError
from operators.images import MAX_PIXELS, Encoding, decode_all
from operators.marks.kept import kept_all
from operators.marks.marker import Marker, Marks, MarksOption, asked_for
from operators.marks.metadata import Metadata
from operators.marks.xmp import SourceType

if TYPE_CHECKING:
    from torch import Tensor

_OPTION_KINDS = {
    "prompt": Kind.TEXT,
    "negative_prompt": Kind.TEXT,
    "guidance_scale": Kind.NUMBER,
    "steps": Kind.INTEGER,
    "width": Kind.INTEGER,
    "height": Kind.INTEGER,
    "seed": Kind.INTEGER,
    "strength": Kind.NUMBER,
}
_STRENGTH = 0.8


class Generate(ControlledSpec):
    """Make pictures from prompts, or change pictures as prompts say (SDEdit, Meng et al. 2022)."""

    kind: ClassVar[str] = "generate"

    prompt: str | Column = Field(Column(column="prompt"), description="what to show")
    negative_prompt: str | Column = Field("", description="what to keep away from; has no effect without guidance")
    guidance_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column | None = Field(
        None, description="how closely to follow the prompt, 1 or less for no guidance; 3 built-in, 7.5 otherwise"
    )
    steps: Annotated[int, Field(ge=1)] | Column = Field(30, description="denoising steps")
    width: Side = Field(None, description="pixels; the model's own unless given")
    height: Side = Field(None, description="pixels; the model's own unless given")
    seed: int | Column | None = Field(
        None,
        description="as in torch.Generator().manual_seed; further pictures of a row count on; the row's unless given",
    )
    image: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="column of pictures to start from, scaled and cropped to width x height"
    )
    strength: Annotated[float, Field(gt=0, le=1)] | Column | None = Field(
        None, description="share of the steps to redo, 0..1, needs `image`; 0.8 unless given"
    )
    images_per_row: int = Field(1, ge=1, le=1000, description="pictures made of every row, each a row of its own")
    scheduler: Annotated[str, AfterValidator(check_name)] | None = Field(
        None, description="sampler, by short name as in `euler` or by diffusers' class; the model's own unless given"
    )
    output: Annotated[str, Field(min_length=1)] = Field(
        "generated_image", description="column to add, with OUTPUT_truncated beside it"
    )
    format: Encoding = Field(Encoding.PNG, description="of the pictures")
    quality: int = Field(95, ge=1, le=100, description="of jpeg and webp")
    marks: MarksOption = Marks.FULL
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="a picture in `image` with more pixels is rejected")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.strength is not None and self.image is None:
            raise ValueError("strength says how much of a picture to redo: it needs `image`")
        return self

    def reads(self) -> dict[str, Kind]:
        """The columns that options name."""
        pictures = {} if self.image is None else {self.image: Kind.IMAGE}
        return {**pictures, **column_options(self, _OPTION_KINDS), **super().reads()}

    def writes(self) -> dict[str, pa.DataType]:
        """The pictures, and what of the texts the model did not take in."""
        return {self.output: columns.IMAGE, f"{self.output}_truncated": columns.TEXT}

    def branches(self) -> tuple[str, ...]:
        """``0``, ``1``, ... where a row has more pictures than one."""
        return tuple(map(str, range(self.images_per_row))) if self.images_per_row > 1 else ()

    def load(
        self, step: str | None = None, batch_rows: int = 16, device: str | None = None, compiled: bool = False
    ) -> Generator:
        """Load the model; arguments and errors as in :meth:`Spec.load`."""
        return Generator(self, step, batch_rows, device, compiled)


@dataclass(frozen=True)
class Wish:
    """What one row asks for.

    Attributes:
        pixels: ``(3, height, width)`` in -1..1, or None for text to image.
        metadata: what is kept of the picture's, if there is one.
        controls: what each control needs to know of the row.
    """

    prompt: str
    negative_prompt: str
    guidance_scale: float
    steps: int
    width: int
    height: int
    strength: float
    seed: int
    pixels: Tensor | None
    metadata: Metadata | None
    controls: tuple[Any, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """What to show, and what to keep away from."""
        return self.prompt, self.negative_prompt


class Generator(DiffusionOperator[Generate, Wish]):
    """A loaded generator.

    Raises:
        ModelError: the model can't be had, or is no Stable Diffusion; the scheduler needs what isn't installed.
    """

    def __init__(
        self,
        spec: Generate,
        step: str | None = None,
        batch_rows: int = 16,
        device: str | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__(spec, step, batch_rows, device, compiled)
        self._scheduler = build(spec.scheduler, self._family.scheduler)
        self._controls = Controls(spec, self._family)
        self._marker = Marker(spec.marks, spec.model, self._family.digest)
        self._defaults = {
            "guidance_scale": spec.usual_guidance,
            "width": self._family.size,
            "height": self._family.size,
            "strength": 1.0 if spec.image is None else _STRENGTH,
        }

    def digests(self) -> dict[str, str]:
        """SHA-256 of each model's weights, also of those that controls loaded."""
        return super().digests() | self._controls.digests()

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Wish | RowError]:
        """Check what every row asks for, and decode its picture, if there is one, to the size it asks for."""
        per_option = [self._values(name, table) for name in _OPTION_KINDS]
        asked = [dict(zip(_OPTION_KINDS, row, strict=True)) for row in zip(*per_option, strict=True)]
        prepared: list[Wish | RowError] = []
        for first in range(0, table.num_rows, self.batch_rows):
            part = table.slice(first, self.batch_rows)
            for picture, metadata in zip(self._pictures(part), kept_all(part, self.spec.image), strict=True):
                row = len(prepared)
                branch = row % self.spec.images_per_row
                prepared.append(self._wish(asked[row], picture, metadata, seeds[row], branch))
        return self._controls.prepared(table, prepared)

    def group(self, prepared: Wish) -> Hashable:
        """Rows that take the same steps at the same size with the same number of passes."""
        return (
            prepared.steps,
            prepared.width,
            prepared.height,
            prepared.strength,
            self.spec.always_guided or prepared.guidance_scale > 1,
            self._controls.group(prepared.controls),
        )

    def run(self, batch: list[Wish]) -> Produced:
        """Generate a batch of rows of one group."""
        import torch

        from operators.diffusion.rendering import render

        with torch.no_grad(), self._controls.installed(batch[0].controls):
            pictures, errors = render(
                self._family, self._denoised(batch), self.spec.format, self.spec.quality, self._metadata(batch)
            )
            truncated = self._controls.truncated(batch, [wish.texts for wish in batch])
        return Produced({self.spec.output: pictures, f"{self.spec.output}_truncated": truncated}, errors)

    def _metadata(self, batch: list[Wish]) -> list[Metadata]:
        made = SourceType.GENERATED if self.spec.image is None else SourceType.EDITED
        prompts = [asked_for(wish.prompt, wish.negative_prompt) for wish in batch]
        return self._marker(made, prompts, [wish.metadata for wish in batch])

    def _denoised(self, batch: list[Wish]) -> Tensor:
        import torch

        from operators.diffusion.denoising import Denoising
        from operators.diffusion.noise import row_generators, row_noise

        family, first = self._family, batch[0]
        generators = row_generators(wish.seed for wish in batch)
        schedule = Sampling(self._scheduler, first.steps, family.device, first.strength)
        pixels = [wish.pixels for wish in batch if wish.pixels is not None]
        clean = family.encode_images(torch.stack(pixels), generators) if pixels else None
        shape = (family.channels, first.height // family.factor, first.width // family.factor)
        noise = row_noise(generators, shape, family.device)
        prompts = [self._controls.encode(batch, [wish.prompt for wish in batch])]
        if first.guidance_scale > 1 or self.spec.always_guided:
            prompts.insert(0, self._controls.encode_negative(batch, [wish.negative_prompt for wish in batch]))
        guidance_scale = self._per_row([max(1.0, wish.guidance_scale) for wish in batch])
        denoising = Denoising(family, schedule, prompts, guidance_scale, generators, len(prompts) > 1)
        self._controls.join(denoising, [wish.controls for wish in batch])
        return denoising(schedule.noisy(noise, clean))

    def _pictures(self, table: pa.Table) -> list[Any]:
        if self.spec.image is None:
            return [None] * table.num_rows
        return list(decode_all(table[self.spec.image].combine_chunks(), max_pixels=self.spec.max_pixels))

    def _wish(
        self, asked: dict[str, Any], picture: Any, metadata: Metadata | None, row_seed: int, branch: int
    ) -> Wish | RowError:
        if isinstance(picture, RowError):
            return picture
        try:
            given = {name: required(value, name) for name, value in asked.items() if name != "seed"}
            seed = row_seed if self.spec.seed is None else required(asked["seed"], "seed") + branch
            check_finite(given)
            check_size(given["width"], given["height"], self._family.factor)
        except RowError as error:
            return error
        from operators.diffusion.rendering import fitted

        pixels = None if picture is None else fitted(picture, given["width"], given["height"])
        return Wish(**given, seed=seed, pixels=pixels, metadata=metadata)
