"""Videos as files."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

_QUALITY = "18"
"""x264's constant rate factor: hardly told from the frames by eye."""


def mp4_file(frames: NDArray[np.uint8], frame_rate: int) -> bytes:
    """An MP4 file, H.264 with 4:2:0 colours.

    Args:
        frames: ``(frames, height, width, 3)``; an odd last row or column is repeated, as the format has even sides.
        frame_rate: frames a second.
    """
    import av

    _, height, width, _ = frames.shape
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=frame_rate, options={"crf": _QUALITY})
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # With more threads the same frames could give other bytes.
        stream.codec_context.thread_count = 1
        for frame in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
