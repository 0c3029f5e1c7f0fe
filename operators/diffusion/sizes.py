"""Sizes of pictures that a latent diffusion model can take."""

from __future__ import annotations

from operators.errors import ImageTooSmallError, ValueInvalidError

WIDEST = 8192
"""Pixels of a side, at the most."""

LEAST_LATENTS = 8
"""Latents of a side, at the least, where a picture is to be encoded."""


def check_size(width: int, height: int, factor: int, least: int = 1) -> None:
    """Refuse sides that are no whole number of latents, ``least`` of them or more.

    Raises:
        ValueInvalidError: one is not.
    """
    for side, pixels in (("width", width), ("height", height)):
        if pixels % factor or not least * factor <= pixels <= WIDEST:
            raise ValueInvalidError(
                f"{side} is {pixels}, but must be a multiple of {factor} in {least * factor}..{WIDEST}"
            )


def check_picture(width: int, height: int, factor: int) -> None:
    """Refuse a picture too small to be encoded to :data:`LEAST_LATENTS` in each direction.

    Raises:
        ImageTooSmallError: it is.
    """
    if min(width, height) < LEAST_LATENTS * factor:
        raise ImageTooSmallError(
            f"the picture has {width} x {height} pixels; this model takes {LEAST_LATENTS * factor} or more a side"
        )
