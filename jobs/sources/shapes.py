"""Rendered scenes as a dataset: no files, and everything about every picture is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from jobs.sources.base import Located, Scan, Source, Stretch, numbered
from jobs.sources.spec import SourceSpec
from operators import columns, images
from operators.models.builtin import scenes

URI = "builtin:shapes"

_SCHEMA = pa.schema(
    [
        ("image", columns.IMAGE),
        ("true_caption", columns.TEXT),
        ("shape", columns.TEXT),
        ("colour", columns.TEXT),
        ("background", columns.TEXT),
        ("place", columns.TEXT),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("radius", pa.float64()),
        ("mask", columns.IMAGE),
    ]
)


class Series(BaseModel):
    """Which scenes: the first ``rows`` of the series ``seed``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(1000, ge=1)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Scenes(Stretch):
    """Neighbouring scenes of a series."""

    seed: int
    first: int
    rows: int

    def locators(self) -> pa.Array:
        """By the scenes' numbers in the series."""
        return numbered("shapes", self.first, self.rows, digits=6)

    def tables(self, part_rows: int, needed: list[str] | None) -> Iterator[Located]:  # noqa: ARG002
        """Render the scenes."""
        end = self.first + self.rows
        for first in range(self.first, end, part_rows):
            numbers = range(first, min(first + part_rows, end))
            yield (
                numbered("shapes", first, len(numbers), digits=6),
                _rendered([scenes.scene(number, self.seed) for number in numbers]),
            )


class ShapesSource(Source):
    """Scenes with their truth: ``x``, ``y``, ``radius`` in pixels of 64 x 64, ``mask`` white where the object is."""

    def __init__(self, series: Series, spec: SourceSpec) -> None:
        super().__init__(spec)
        self.series = series

    def scan(self, part_rows: int) -> Scan:
        """Cut the series."""
        rows, seed = self.series.rows, self.series.seed
        starts = range(0, rows, part_rows)
        stretches: list[Stretch] = [Scenes(seed, first, min(part_rows, rows - first)) for first in starts]
        return Scan(f"{URI}?rows={rows}&seed={seed}", _SCHEMA, stretches)


def _rendered(series: list[scenes.Scene]) -> pa.Table:
    told = {name: [getattr(scene, name) for scene in series] for name in _SCHEMA.names if hasattr(scenes.Scene, name)}
    told |= {
        name: [getattr(scene, name) for scene in series]
        for name in ("shape", "colour", "background", "x", "y", "radius")
    }
    told["true_caption"] = [scene.caption for scene in series]
    told["image"] = images.encode_all(scenes.draw(series))
    told["mask"] = images.encode_all([Image.fromarray(mask) for mask in scenes.masks(series)])
    return pa.table(told, _SCHEMA)
