"""A loaded ``score``: rows into batches of one size, metrics out of them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageOps

from operators.base import Operator, Produced, values
from operators.errors import ImageMissingError, MaskError, RowError
from operators.images import decode_all
from operators.models.loading import pick_device
from operators.score.metrics import Reads

if TYPE_CHECKING:
    from operators.score.spec import Score


@dataclass(frozen=True)
class Scored:
    """A row as metrics take it; what no metric reads is not there, and a text or mask that is null is None.

    Attributes:
        pictures: ``(height, width, 3)`` RGB, all of one size.
        mask: ``(height, width)``, true where the edit may change the picture.
        texts: as they are.
    """

    size: tuple[int, int]
    pictures: dict[Reads, NDArray[np.uint8]]
    mask: NDArray[np.bool_] | None = None
    texts: dict[Reads, str | None] = field(default_factory=dict)


class Scorer(Operator["Score", Scored]):
    """Loaded metrics.

    Raises:
        ModelError: a network can't be had, or is none that a metric can look with.
    """

    def __init__(self, spec: Score, step: str | None = None, batch_rows: int = 16, device: str | None = None) -> None:
        from operators.score.networks import Networks

        super().__init__(spec, step, batch_rows)
        self._networks = Networks(spec, pick_device(device))

    def digests(self) -> dict[str, str]:
        """SHA-256 of each network's weights."""
        return self._networks.digests

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Scored | RowError]:  # noqa: ARG002
        """Decode the pictures, a batch at a time, and bring those of a row to one size."""
        texts = {which: values(text, table) for which, text in self.spec.texts.items()}
        prepared: list[Scored | RowError] = []
        for first in range(0, table.num_rows, self.batch_rows):
            part = table.slice(first, self.batch_rows)
            decoded = {which: self._decoded(part[name]) for which, name in self.spec.pictures.items()}
            for place in range(part.num_rows):
                row = {which: pictures[place] for which, pictures in decoded.items()}
                prepared.append(_scored(row, {which: told[first + place] for which, told in texts.items()}))
        return prepared

    def group(self, prepared: Scored) -> Hashable:
        """Pictures of one size go together."""
        return prepared.size

    def run(self, batch: list[Scored]) -> Produced:
        """Measure a batch of rows of one size."""
        import torch

        from operators.score.batch import Batch
        from operators.score.measures import MEASURES

        with torch.inference_mode():
            seen = Batch(batch, self._networks, Reads.MASK in self.spec.pictures)
            measured = [MEASURES[metric](seen).float().cpu().numpy() for metric in self.spec.measured]
        columns = [pa.array(values, pa.float32(), mask=~np.isfinite(values)) for values in measured]
        return Produced(dict(zip(self.spec.writes(), columns, strict=True)))

    def _decoded(self, column: pa.ChunkedArray) -> list[Any]:
        return list(decode_all(column.combine_chunks(), max_pixels=self.spec.max_pixels))


def _scored(row: dict[Reads, Any], texts: dict[Reads, str | None]) -> Scored | RowError:
    mask = row.pop(Reads.MASK, None)
    mask = None if isinstance(mask, ImageMissingError) else mask
    for found in (*row.values(), mask):
        if isinstance(found, RowError):
            return found
    pictures: dict[Reads, Image.Image] = row
    size = pictures[Reads.IMAGE if Reads.IMAGE in pictures else Reads.SOURCE].size
    if mask is not None and mask.size not in {picture.size for picture in pictures.values()}:
        return MaskError(f"the mask has {mask.width} x {mask.height} pixels, and neither of its pictures has")
    arrays = {
        which: np.asarray(picture if picture.size == size else ImageOps.fit(picture, size, Image.Resampling.LANCZOS))
        for which, picture in pictures.items()
    }
    covered = None if mask is None else np.asarray(ImageOps.fit(mask.convert("L"), size, Image.Resampling.BOX)) > 127
    return Scored(size, arrays, covered, texts)
