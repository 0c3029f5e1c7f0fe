"""A sink with pictures before and after, masks, captions, scores and rejects, made without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from jobs import Job
from operators import Spec, columns
from operators.base import Kind, Operator, Produced
from operators.images import decode_all, encode_all
from operators.models.builtin.scenes import draw, scene
from tests.jobs import sinks
from tests.jobs.steps import Fragile

HOSTILE = "</script><script>alert(1)</script> \"quoted\" 'too' <!-- & \u2028 <img src=x onerror=alert(2)>"
"""A caption that would break out of a page that is put together carelessly."""


class Recoloured(Spec):
    """Swaps a picture's colours; the mask is where it is bright, the score how bright it is."""

    kind: ClassVar[str] = "recoloured"

    image: str = "image"
    prompt: str = "caption"
    output: str = "swapped"

    def reads(self) -> dict[str, Kind]:
        return {self.image: Kind.IMAGE, "caption": Kind.TEXT}

    def writes(self) -> dict[str, pa.DataType]:
        return {
            self.output: columns.IMAGE,
            f"{self.output}_mask": columns.IMAGE,
            f"{self.output}_prompt": columns.TEXT,
            "brightness": pa.float32(),
            "odd": pa.bool_(),
        }

    def load(self, step: str | None = None, batch_rows: int = 16, *_: Any, **__: Any) -> RecolouredOperator:
        return RecolouredOperator(self, step, batch_rows)


class RecolouredOperator(Operator[Recoloured, Any]):
    """Loaded :class:`Recoloured`."""

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Any]:  # noqa: ARG002
        captions = table["caption"].to_pylist()
        pictures = decode_all(table[self.spec.image])
        return [
            one if isinstance(one, Exception) else (np.asarray(one), caption)
            for one, caption in zip(pictures, captions, strict=True)
        ]

    def run(self, batch: list[Any]) -> Produced:
        pixels = np.stack([picture for picture, _ in batch])
        bright = np.repeat(pixels.max(-1, keepdims=True) > 200, 3, -1).astype(np.uint8) * 255
        name = self.spec.output
        return Produced(
            {
                name: encode_all(np.ascontiguousarray(pixels[..., ::-1])),
                f"{name}_mask": encode_all(bright),
                f"{name}_prompt": [f"{caption}, with its colours swapped" for _, caption in batch],
                "brightness": [float(value) for value in pixels.mean((1, 2, 3)) / 255],
                "odd": [len(caption) % 2 == 1 for _, caption in batch],
            }
        )


def noisy(rows: int, side: int) -> pa.Table:
    """Rows whose pictures and captions are as large as can be."""
    noise = np.random.default_rng(0)
    pictures = encode_all(noise.integers(0, 256, (rows, side, side, 3), np.uint8))
    captions = [noise.bytes(1500).hex() for _ in range(rows)]
    return pa.table({"n": range(rows), "image": pictures, "caption": captions})


def source(rows: int) -> pa.Table:
    """Rows with a picture, the first caption hostile; picture 1 is broken."""
    pictures = encode_all(draw([scene(number, 0) for number in range(rows)])).to_pylist()
    pictures[1] = {"bytes": b"no picture", "path": None}
    captions = [HOSTILE, *(f"a picture with the number {number}" for number in range(1, rows))]
    return pa.table({"n": range(rows), "image": pa.array(pictures, columns.IMAGE), "caption": captions})


def job(folder: Path, rows: int = 12, **options: Any) -> Job:
    """A job over such rows, in parts of three; row 4 fails in its second step."""
    broken = folder / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "table#4").write_text("not_finite")
    sink = {"uri": str(folder / "sink"), "part_rows": 3, **options}
    return Job(name="swapped", source=source(rows), steps=[Recoloured(), Fragile(broken=str(broken))], sink=sink)


def done(folder: Path, rows: int = 12, **options: Any) -> str:
    """The sink of such a job, done."""
    sinks.done(job(folder, rows, **options))
    return str(folder / "sink")
