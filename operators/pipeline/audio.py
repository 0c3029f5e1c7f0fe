"""Sound as files, and how fast a pipeline's sound goes."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NAMES = ("sampling_rate", "sample_rate")


def wave_file(samples: NDArray[np.floating[Any]], sample_rate: int) -> bytes:
    """A WAV file of 16-bit samples.

    Args:
        samples: ``(channels, samples)`` or ``(samples,)`` in -1..1; what is beyond is cut off.
        sample_rate: samples a second.
    """
    levels = (np.atleast_2d(samples).clip(-1, 1) * 32767).round().astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(len(levels))
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(levels.T.tobytes())
    return buffer.getvalue()


def sample_rate_of(pipeline: Any) -> int | None:
    """The samples a second that the last of a pipeline's parts to tell one tells; None where none does."""
    parts = [part for part in pipeline.components.values() if part is not None]
    told = [getattr(part.config, name, None) for part in parts if hasattr(part, "config") for name in _NAMES]
    return next((int(rate) for rate in reversed(told) if rate), None)
