"""Latents that an ``invert`` step left, and whether they are what an edit can go on from."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from operators.errors import ColumnError, ValueInvalidError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Start(StrEnum):
    """Where the latents that an edit goes on from come from."""

    INVERTED = "inverted"
    PICTURE = "picture"


def known_of(schema: pa.Schema, column: str) -> dict[str, str]:
    """What is known of how inverted latents were made, from the metadata of their column."""
    metadata = schema.field(column).metadata if column in schema.names else None
    return {key.decode(): value.decode() for key, value in (metadata or {}).items()}


def check_inverted(schema: pa.Schema, column: str, wanted: dict[str, Any], where: str) -> None:
    """Compare what is known of inverted latents, from the metadata of their column, with what an edit needs.

    Raises:
        ColumnError: there are none, or they were made otherwise.
    """
    if column not in schema.names:
        raise ColumnError(
            f"there is no column {column!r}; put an `invert` step before and name its output in `latents`, "
            "or let this step invert with `start: picture`",
            where,
        )
    known = known_of(schema, column)
    for name, value in wanted.items():
        if name in known and known[name] != str(value):
            raise ColumnError(
                f"column {column!r} was inverted with `{name}: {known[name]}`; this step needs `{name}: {value}`", where
            )


def sides_of(latents: NDArray[np.float16], channels: int, factor: int, asked: dict[str, Any]) -> tuple[int, int]:
    """Height and width in pixels of the picture that a row's latents are of.

    Raises:
        ValueInvalidError: they are another model's, or another size was asked for.
    """
    if latents.ndim not in (3, 4) or latents.shape[-3] != channels:
        raise ValueInvalidError(f"the latents are {latents.shape}, but this model's are ({channels}, height, width)")
    height, width = (side * factor for side in latents.shape[-2:])
    if asked.get("height", height) != height or asked.get("width", width) != width:
        raise ValueInvalidError(f"the latents are those of {width} x {height} pixels; another size was asked for")
    return height, width
