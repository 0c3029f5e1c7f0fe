"""One row on its way through an edit, and a batch after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from operators.edit.concepts import Concept, word_of
from operators.errors import RowError
from operators.marks.metadata import Metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class EditRow:
    """What one row asks for.

    Attributes:
        source: rows that one row became have this in common, and with it picture, latents, mask, prompt and seed.
        prompt: what the picture shows; empty where that does not matter.
        target: what it shall show; None where only the concepts tell.
        change: the concepts to go from and to; None where only the target tells.
        pixels: ``(3, height, width)`` in -1..1.
        latents: ``(c, h, w)``, or ``(steps + 1, c, h, w)`` for a whole trajectory, from the picture to noise.
        mask: ``(1, height, width)``, 1 where the picture may change, 0 elsewhere.
        metadata: what is kept of the picture's; None where there is none.
        options: the method's own, by name.
        controls: what each control needs to know of the row.
    """

    source: int
    prompt: str
    target: str | None
    change: tuple[Concept, Concept] | None
    negative_prompt: str
    guidance_scale: float
    steps: int
    width: int
    height: int
    seed: int
    pixels: Tensor | None
    latents: NDArray[np.float16] | None
    mask: Tensor | None
    metadata: Metadata | None
    options: dict[str, Any]
    controls: tuple[Any, ...] = ()

    @property
    def told(self) -> str:
        """What the model was asked for: the target, or where there is none the change."""
        if self.target is not None or self.change is None:
            return self.target or ""
        return " to ".join(word_of(concept) for concept in self.change if concept)

    @property
    def texts(self) -> tuple[str, ...]:
        """What to show, what to keep away from, and what is shown."""
        return self.target or "", self.negative_prompt, self.prompt


@dataclass
class Edited:
    """A batch after its edit: latents ``(n, c, h, w)``, values of further columns, and the rows that failed."""

    latents: Tensor
    columns: dict[str, Sequence[Any] | pa.Array] = field(default_factory=dict)
    errors: dict[int, RowError] = field(default_factory=dict)
