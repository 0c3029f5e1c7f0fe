"""Regions: parts of a picture with prompts of their own (MultiDiffusion, Bar-Tal et al. 2023, section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from operators.base import Column, Kind, column_options
from operators.controls.base import LISTED, Control, ControlSpec, OptionsWithParts, Touches, row_options, with_parts
from operators.errors import MaskError, RowError
from operators.images import MAX_PIXELS, decode_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion

_PER_REGION = {"prompt": Kind.TEXT, "box": Kind.TEXT}


def _ordered(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    if left >= right or top >= bottom:
        raise ValueError("the box is empty; it is left, top, right and bottom")
    return box


_Share = Annotated[float, Field(ge=0, le=1)]
Box = Annotated[tuple[_Share, _Share, _Share, _Share], LISTED, AfterValidator(_ordered)]
"""Left, top, right and bottom, as shares of the picture."""


class Region(BaseModel):
    """A part of the picture. A row in which its prompt is empty is without it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str | Column = Field(description="what to show there; the row has no such region where it is empty")
    box: Box | Column | None = Field(
        None,
        description="left, top, right and bottom in 0..1 of the picture; in a column, separated by commas",
    )
    mask: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="column of masks instead, bright where the region is, scaled and cropped as pictures are"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.box is None) == (self.mask is None):
            raise ValueError("say where the region is by `box` or by `mask`, one of them")
        return self


class Regions(ControlSpec):
    """Show prompts of their own in parts of the picture; what no region covers shows the row's prompt."""

    kind: ClassVar[str] = "regions"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.PASSES, Touches.TEXT})
    per_row: ClassVar[dict[str, Kind]] = {"bootstrapping": Kind.INTEGER}

    regions: Annotated[tuple[Region, ...], Field(min_length=1)] = Field(description="the parts")
    bootstrapping: Annotated[int, Field(ge=0)] | Column = Field(
        10, description="steps, the first ones, in which a region sees a plain colour around it, so that it fits in"
    )
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="a mask with more pixels is rejected")

    def reads(self) -> dict[str, Kind]:
        """The columns that options name, also those of the regions."""
        read = super().reads()
        for region in self.regions:
            read |= column_options(region, _PER_REGION)
            read |= {} if region.mask is None else {region.mask: Kind.IMAGE}
        return read

    def load(self, family: StableDiffusion, allow_pickle: bool) -> RegionPrompts:  # noqa: ARG002
        """There is nothing to load."""
        return RegionPrompts(self, family)


class RegionPrompts(Control[Regions, OptionsWithParts]):
    """Loaded regions."""

    def prepare(self, table: pa.Table, texts: Sequence[tuple[str, ...] | None]) -> list[OptionsWithParts | RowError]:  # noqa: ARG002
        """Options of the row, and of each region ``prompt`` and ``place``: a box, or a mask as a picture."""
        own = row_options(self.spec, self.spec.per_row, table)
        regions = [self._places(region, table) for region in self.spec.regions]
        return with_parts(own, regions)

    def texts(self, asked: OptionsWithParts) -> tuple[str, ...]:
        """The prompts of the regions."""
        return tuple(region["prompt"] for region in asked[1])

    def join(self, denoising: Denoising, asked: list[OptionsWithParts]) -> None:
        """Add a pass for each region, and what puts them together."""
        from operators.diffusion.region_prompts import Compose

        prompts = [[regions[at]["prompt"] for _, regions in asked] for at in range(len(self.spec.regions))]
        passes = [denoising.add_pass(denoising.encode(told)) for told in prompts]
        bootstrapping = [row["bootstrapping"] for row, _ in asked]
        places = [[region["place"] if region["prompt"] else None for region in regions] for _, regions in asked]
        denoising.methods.append(Compose(denoising, passes, places, bootstrapping))

    def _places(self, region: Region, table: pa.Table) -> list[dict[str, Any] | RowError]:
        rows = row_options(region, _PER_REGION, table)
        if region.mask is None:
            return [row if isinstance(row, RowError) else {**row, "place": row["box"]} for row in rows]
        masks = decode_all(table[region.mask].combine_chunks(), max_pixels=self.spec.max_pixels)
        return [_masked(row, mask) for row, mask in zip(rows, masks, strict=True)]


def _masked(row: Any, mask: Any) -> dict[str, Any] | RowError:
    if isinstance(row, RowError) or not row["prompt"]:
        return row  # type: ignore[no-any-return]
    if isinstance(mask, RowError):
        return mask
    brightest: int = mask.convert("L").getextrema()[1]
    if brightest <= 127:
        return MaskError(f"the mask of region {row['prompt']!r} is empty: nothing of it is brighter than half")
    return {**row, "place": mask}
