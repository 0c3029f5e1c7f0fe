"""What the methods of ``edit`` have in common: their options, a row's way into a batch, and the pictures out of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

import pyarrow as pa
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from operators import columns
from operators.base import Column, Kind, Produced, column_options, required, values
from operators.diffusion.controlled import ControlledSpec, Controls
from operators.diffusion.operator import DiffusionOperator, check_finite
from operators.diffusion.schedulers import build, check_name
from operators.diffusion.sizes import LEAST_LATENTS, check_picture, check_size
from operators.diffusion.spec import Side
from operators.edit.concepts import Concept, labels, word_of
from operators.edit.inverted import known_of, sides_of
from operators.edit.rows import Edited, EditRow
from operators.edit.words import replaced
from operators.errors import MaskError, RowError, ValueInvalidError
from operators.images import MAX_PIXELS, Encoding, decode_all
from operators.marks.kept import kept_all
from operators.marks.marker import Marker, Marks, MarksOption, asked_for
from operators.marks.metadata import Metadata
from operators.marks.xmp import SourceType
from operators.models.ref import ModelRef
from operators.tensors import unpack

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.loop import Schedule
    from operators.diffusion.prompts import Prompts


class Edit(ControlledSpec, ABC):
    """Change what pictures show."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kind: ClassVar[str] = "edit"
    branches_share_seed: ClassVar[bool] = True
    per_row: ClassVar[dict[str, Kind]] = {}
    """Options of the method's own that a column may hold, and what it must hold."""
    samplers: ClassVar[tuple[str, ...] | None] = None
    """Schedulers that the method is right with; None for all."""
    needs_target: ClassVar[bool] = True
    """Whether a row is rejected whose prompt does not mention the word to change."""
    encodes_prompt: ClassVar[bool] = True
    """Whether the network is told what the picture shows, and not only what it shall show."""

    method: str = Field(description="how to edit")
    image: Annotated[str, Field(min_length=1)] = Field("image", description="column of pictures")
    prompt: str | Column = Field(Column(column="caption"), description="what the picture shows")
    from_: Concept | Column | None = Field(None, alias="from", description="what to change, a word of the prompt")
    to: Concept | Column | Annotated[tuple[Concept, ...], Field(min_length=1)] | None = Field(
        None, description="what it becomes; with a list, a row becomes one row for each"
    )
    target_prompt: str | Column | None = Field(None, description="what to show, instead of `from` and `to`")
    negative_prompt: str | Column = Field("", description="what to keep away from; has no effect without guidance")
    guidance_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column | None = Field(
        None, description="how closely to follow the text, 1 or less for no guidance; 3 built-in, 7.5 otherwise"
    )
    steps: Annotated[int, Field(ge=1)] | Column = Field(50, description="denoising steps of the whole way")
    width: Side = Field(None, description="pixels, pictures are scaled and cropped to it; the model's own unless given")
    height: Side = Field(None, description="pixels, as for the width")
    seed: int | Column | None = Field(None, description="as in torch.Generator().manual_seed; the row's unless given")
    scheduler: Annotated[str, AfterValidator(check_name)] | None = Field(
        None, description="sampler, by short name as in `euler` or by diffusers' class; the method's own unless given"
    )
    output: Annotated[str, Field(min_length=1)] = Field(
        "edited_image", description="column to add, with OUTPUT_prompt and OUTPUT_truncated beside it"
    )
    format: Encoding = Field(Encoding.PNG, description="of the pictures")
    quality: int = Field(95, ge=1, le=100, description="of jpeg and webp")
    marks: MarksOption = Marks.FULL
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="a picture with more pixels is rejected")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.target_prompt is None and (self.to is None or (self.needs_from and self.from_ is None)):
            ways = "`from` and `to`" if self.needs_from else "`to`"
            raise ValueError(f"say what to change with {ways}, or give a `target_prompt`")
        if self.target_prompt is not None and (self.from_ is not None or self.to is not None):
            raise ValueError("`target_prompt` stands in place of `from` and `to`: give one or the other")
        if self.scheduler is not None and self.samplers is not None and self.scheduler not in self.samplers:
            raise ValueError(
                f"{self.method} is wrong with scheduler {self.scheduler!r}; it takes {' or '.join(self.samplers)}"
            )
        self.branches()
        return self

    @property
    def targets(self) -> tuple[Concept | Column | None, ...]:
        """What a row becomes, one for each row that it becomes."""
        return self.to if isinstance(self.to, tuple) else (self.to,)

    @property
    def defaults(self) -> dict[str, float]:
        """Values of the method's own options where they are left open."""
        return {}

    @property
    def picture_column(self) -> str | None:
        """Where pictures are read from, if they are."""
        return self.image

    @property
    def source_column(self) -> str | None:
        """Where the pictures are that are edited, be they read or only their latents; None where there are none."""
        return self.image

    @property
    def latents_column(self) -> str | None:
        """Where inverted latents are read from, if they are."""
        return None

    @property
    def mask_column(self) -> str | None:
        """Where masks are read from, if they are."""
        return None

    @property
    def needs_prompt(self) -> bool:
        """Whether it matters what the picture shows."""
        return True

    @property
    def needs_from(self) -> bool:
        """Whether `to` alone does not tell what to change."""
        return True

    @property
    def row_options(self) -> dict[str, Kind]:
        """Options that a column may hold, and what it must hold."""
        kinds = _PER_ROW | self.per_row
        return kinds if self.needs_prompt else {name: kind for name, kind in kinds.items() if name != "prompt"}

    def target(self, prompt: str, word: str, to: str) -> str | None:
        """What to tell the network for a change of one word; None where the prompt does not mention it."""
        return replaced(prompt, word, to)

    def settled(self, schema: pa.Schema) -> Self:
        """The step with the model that its latents were inverted with, unless another one was named."""
        made_with = known_of(schema, self.latents_column or "").get("model")
        if made_with is None or "model" in self.model_fields_set:
            return self
        return self.model_copy(update={"model": ModelRef(made_with)})

    def reads(self) -> dict[str, Kind]:
        """Pictures, masks and latents as the method takes them, and the columns that options name."""
        kinds = {self.picture_column: Kind.IMAGE, self.mask_column: Kind.IMAGE, self.latents_column: Kind.TENSOR}
        taken = {name: kind for name, kind in kinds.items() if name is not None}
        return {**taken, **column_options(self, self.row_options), **super().reads()}

    def writes(self) -> dict[str, pa.DataType]:
        """The edited pictures, the prompt that each was made with, and what of the texts the model did not take in."""
        return {
            self.output: columns.IMAGE,
            f"{self.output}_prompt": columns.TEXT,
            f"{self.output}_truncated": columns.TEXT,
        }

    def branches(self) -> tuple[str, ...]:
        """The words of ``to``, where it is a list."""
        return labels(self.to) if isinstance(self.to, tuple) else ()


Given = tuple[Any, Any, Any, Metadata | None]
"""A row's picture, mask and latents, each None where the method takes none, and what is kept of the metadata."""

_PER_ROW = {
    "prompt": Kind.TEXT,
    "from_": Kind.TEXT,
    "to": Kind.TEXT,
    "target_prompt": Kind.TEXT,
    "negative_prompt": Kind.TEXT,
    "guidance_scale": Kind.NUMBER,
    "steps": Kind.INTEGER,
    "width": Kind.INTEGER,
    "height": Kind.INTEGER,
    "seed": Kind.INTEGER,
}


E = TypeVar("E", bound=Edit)


class Editor(DiffusionOperator[E, EditRow], ABC):
    """A loaded method.

    Raises:
        ModelError: the model can't be had, or is none that the method can use; the scheduler needs what isn't there.
    """

    default_scheduler: ClassVar[str | None] = None
    """The scheduler that is used unless one is given; None for the model's own."""

    def __init__(
        self, spec: E, step: str | None = None, batch_rows: int = 16, device: str | None = None, compiled: bool = False
    ) -> None:
        super().__init__(spec, step, batch_rows, device, compiled)
        self._scheduler = build(spec.scheduler or self.default_scheduler, self._family.scheduler)
        self._controls = Controls(spec, self._family)
        self._marker = Marker(spec.marks, spec.model, self._family.digest)
        self._defaults = {"guidance_scale": spec.usual_guidance, **spec.defaults}

    def digests(self) -> dict[str, str]:
        """SHA-256 of each model's weights, also of those that controls loaded."""
        return super().digests() | self._controls.digests()

    @abstractmethod
    def edited(self, batch: list[EditRow]) -> Edited:
        """Edit a batch of rows of one group, on the device and without gradients."""

    def check(self, row: EditRow) -> None:
        """Refuse what only the method can tell of a row.

        Raises:
            RowError: the method can't edit it.
        """

    def finished(self, batch: list[EditRow], pixels: Tensor) -> Tensor:  # noqa: ARG002
        """Change the pictures ``(n, 3, H, W)`` in 0..1 that the latents of a batch became."""
        return pixels

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[EditRow | RowError]:
        """Check what every row asks for, and bring its picture, mask and latents to the size it asks for."""
        branches = len(self.spec.targets)
        options = {name: self._values(name, table) for name in self.spec.row_options if name != "to"}
        options["to"] = [
            value
            for first in range(0, table.num_rows, branches)
            for value in self._targets(table.slice(first, branches))
        ]
        asked = [dict(zip(options, row, strict=True)) for row in zip(*options.values(), strict=True)]
        latents: list[Any] = [None] * table.num_rows
        if self.spec.latents_column is not None:
            latents = unpack(table[self.spec.latents_column])
        prepared: list[EditRow | RowError] = []
        for first in range(0, table.num_rows, self.batch_rows):
            part = table.slice(first, self.batch_rows)
            pictures, masks = (self._decoded(part, name) for name in (self.spec.picture_column, self.spec.mask_column))
            for picture, mask, metadata in zip(pictures, masks, kept_all(part, self.spec.source_column), strict=True):
                row = len(prepared)
                given = (picture, mask, latents[row], metadata)
                prepared.append(self._row(row // branches, asked[row], given, seeds[row]))
        return self._controls.prepared(table, prepared)

    def group(self, prepared: EditRow) -> Hashable:
        """Rows that take the same steps at the same size with the same number of passes."""
        return (
            prepared.steps,
            prepared.width,
            prepared.height,
            self._is_guided(prepared),
            self._controls.group(prepared.controls),
        )

    def run(self, batch: list[EditRow]) -> Produced:
        """Edit a batch of rows of one group."""
        import torch

        with torch.no_grad(), self._controls.installed(batch[0].controls):
            edited = self.edited(batch)
            pictures, errors = self._rendered(edited.latents, SourceType.EDITED, batch)
            texts = [[row.prompt * self.spec.encodes_prompt, row.negative_prompt, row.target or ""] for row in batch]
            truncated = self._controls.truncated(batch, texts)
        written = {
            self.spec.output: pictures,
            f"{self.spec.output}_prompt": [row.target for row in batch],
            f"{self.spec.output}_truncated": truncated,
        }
        return Produced({**written, **edited.columns}, {**errors, **edited.errors})

    def _rendered(
        self, latents: Tensor, made: SourceType, rows: list[EditRow]
    ) -> tuple[pa.StructArray, dict[int, RowError]]:
        """Marked pictures of a batch's latents: of the edit, or of what it began with, and the rows that failed."""
        from operators.diffusion.rendering import render

        is_edit = made is SourceType.EDITED
        prompts = [asked_for(row.told if is_edit else row.prompt, row.negative_prompt) for row in rows]
        metadata = self._marker(made, prompts, [row.metadata for row in rows])
        finished = partial(self.finished, rows) if is_edit else None
        return render(self._family, latents, self.spec.format, self.spec.quality, metadata, finished)

    def _shared(self, batch: list[EditRow]) -> tuple[list[EditRow], Tensor]:
        """One row for each source row of a batch, and for every row of the batch the place of its own among them.

        A batch that copies of rows fill up has as many source rows as one without: each copy counts as another one's.
        """
        import torch

        numbers: dict[tuple[int, int], int] = {}
        copies: Counter[int] = Counter()
        places = []
        for row in batch:
            places.append(numbers.setdefault((row.source, copies[id(row)]), len(numbers)))
            copies[id(row)] += 1
        sources = [batch[places.index(number)] for number in range(len(numbers))]
        return sources, torch.tensor(places, device=self._family.device)

    def _pixels(self, rows: list[EditRow]) -> Tensor:
        import torch

        return torch.stack([row.pixels for row in rows if row.pixels is not None])

    def _guided(self, rows: list[EditRow], prompts: Prompts) -> list[Prompts]:
        """The conditions of every pass: those given, and ahead of them the negative ones where rows are guided."""
        if not self._is_guided(rows[0]):
            return [prompts]
        return [self._controls.encode_negative(rows, [row.negative_prompt for row in rows]), prompts]

    def _denoising(
        self, rows: list[EditRow], schedule: Schedule, prompts: list[Prompts], generators: list[Generator], **given: Any
    ) -> Denoising:
        """A batch as the loop takes it, under :meth:`_guided` prompts, with all controls plugged in."""
        from operators.diffusion.denoising import Denoising

        scales = self._per_row([max(1.0, row.guidance_scale) for row in rows])
        denoising = Denoising(self._family, schedule, [*prompts], scales, generators, len(prompts) > 1, **given)
        self._controls.join(denoising, [row.controls for row in rows])
        return denoising

    def _is_guided(self, row: EditRow) -> bool:
        return self.spec.always_guided or row.guidance_scale > 1

    def _decoded(self, table: pa.Table, name: str | None) -> list[Any]:
        if name is None:
            return [None] * table.num_rows
        return list(decode_all(table[name].combine_chunks(), max_pixels=self.spec.max_pixels))

    def _targets(self, rows: pa.Table) -> list[Any]:
        if isinstance(self.spec.to, tuple):
            return list(self.spec.to)
        return values(self.spec.to, rows)

    def _row(self, source: int, asked: dict[str, Any], given: Given, seed: int) -> EditRow | RowError:
        for found in given:
            if isinstance(found, RowError):
                return found
        try:
            return self._checked(source, asked, given, seed)
        except RowError as error:
            return error

    def _checked(self, source: int, asked: dict[str, Any], given: Given, seed: int) -> EditRow:
        from operators.diffusion.rendering import fitted, fitted_mask

        picture, mask, latents, metadata = given
        factor, channels = self._family.factor, self._family.channels
        options = {
            name: required(value, name.rstrip("_"))
            for name, value in asked.items()
            if getattr(self.spec, name) is not None or name in self._defaults
        }
        check_finite(options)
        height, width = options.get("height", self._family.size), options.get("width", self._family.size)
        if self.spec.latents_column is not None:
            latents = required(latents, self.spec.latents_column)
            height, width = sides_of(latents, channels, factor, options)
        check_size(width, height, factor, LEAST_LATENTS)
        if picture is not None:
            check_picture(picture.width, picture.height, factor)
        if mask is not None and picture is not None and mask.size != picture.size:
            raise MaskError(
                f"the mask has {mask.width} x {mask.height} pixels, but its picture {picture.width} x {picture.height}"
            )
        target, change = self._told(options)
        row = EditRow(
            source=source,
            prompt=options.get("prompt", ""),
            target=target,
            change=change,
            negative_prompt=options["negative_prompt"],
            guidance_scale=options["guidance_scale"],
            steps=options["steps"],
            width=width,
            height=height,
            seed=options.get("seed", seed),
            pixels=None if picture is None else fitted(picture, width, height),
            latents=latents,
            mask=None if mask is None else fitted_mask(mask, width, height),
            metadata=metadata,
            options={name: options.get(name) for name in self.spec.per_row},
        )
        self.check(row)
        return row

    def _told(self, given: dict[str, Any]) -> tuple[str | None, tuple[Concept, Concept] | None]:
        if "target_prompt" in given:
            return given["target_prompt"], None
        prompt, change = given.get("prompt", ""), (given.get("from_", ""), given["to"])
        words = word_of(change[0]), word_of(change[1])
        target = self.spec.target(prompt, *words)
        if target is None and self.spec.needs_target:
            raise ValueInvalidError(f"the prompt {prompt!r} does not mention {words[0]!r}, the word to change")
        return target, change
