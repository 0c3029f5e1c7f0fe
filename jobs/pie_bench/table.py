"""The benchmark's table: means by method, and by method and type of edit, at the scales that it is published in."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from jobs.pie_bench.job import prefix
from jobs.sink.rows import SinkRows
from operators.score import Metric

TYPE = "editing_type_id"

EDIT_TYPES = {
    "0": "random",
    "1": "change object",
    "2": "add object",
    "3": "delete object",
    "4": "change content",
    "5": "change pose",
    "6": "change colour",
    "7": "change material",
    "8": "change background",
    "9": "change style",
}


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    title: str
    metric: Metric
    scale: float = 1.0
    is_least_zero: bool = False
    """Whether values below zero count as zero."""


COLUMNS = (
    Column("structure distance x 10^3", Metric.STRUCTURE, 1e3),
    Column("background PSNR", Metric.BACKGROUND_PSNR),
    Column("background LPIPS x 10^3", Metric.BACKGROUND_LPIPS, 1e3),
    Column("background MSE x 10^4", Metric.BACKGROUND_MSE, 1e4),
    Column("background SSIM x 10^2", Metric.BACKGROUND_SSIM, 1e2),
    Column("CLIP whole", Metric.CLIP_TARGET, 1e2, is_least_zero=True),
    Column("CLIP edited", Metric.CLIP_EDITED, 1e2, is_least_zero=True),
)


@dataclass(frozen=True)
class Line:
    """Means of one method over some pictures; None where no picture has a value."""

    method: str
    edit_type: str
    pictures: int
    means: tuple[float | None, ...]

    def as_json(self) -> dict[str, Any]:
        """The same by name; means by the metric's name, as published."""
        named = zip((column.metric.value for column in COLUMNS), self.means, strict=True)
        return {"method": self.method, "edit_type": self.edit_type, "pictures": self.pictures, **dict(named)}


@dataclass(frozen=True)
class Table:
    """All methods over all pictures, and over those of each type."""

    lines: tuple[Line, ...]

    @classmethod
    def of(cls, rows: SinkRows, chosen: Sequence[str]) -> Table:
        """Read the scores out of a finished sink; nothing else of it is read.

        Args:
            rows: of the sink of a :func:`jobs.pie_bench.job.benchmark`.
            chosen: its methods.

        Raises:
            SinkError: the sink can't be read.
        """
        needed = [TYPE, *(f"{prefix(method)}{column.metric}" for method in chosen for column in COLUMNS)]
        parts = [batch.to_pandas() for batch in rows.batches(needed)]
        frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=needed)
        types = [(name, frame[frame[TYPE] == number]) for number, name in EDIT_TYPES.items()]
        groups = [("all", frame), *((name, some) for name, some in types if len(some))]
        return cls(tuple(_line(method, name, some) for name, some in groups for method in chosen))

    def as_json(self) -> list[dict[str, Any]]:
        """Every line by name."""
        return [line.as_json() for line in self.lines]

    def as_csv(self) -> str:
        """Every line, under the names of :meth:`as_json`."""
        out = io.StringIO()
        writer = csv.DictWriter(out, list(self.lines[0].as_json()), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.as_json())
        return out.getvalue()

    def as_markdown(self) -> str:
        """Every line, with titles and as many digits as published."""
        titles = ["edits", "method", "pictures", *(column.title for column in COLUMNS)]
        cells = [
            [line.edit_type, line.method, str(line.pictures), *("-" if m is None else f"{m:.2f}" for m in line.means)]
            for line in self.lines
        ]
        rule = ["---", "---", *["---:"] * (len(titles) - 2)]
        return "".join(f"| {' | '.join(row)} |\n" for row in [titles, rule, *cells])


def _line(method: str, edit_type: str, frame: pd.DataFrame) -> Line:
    return Line(method, edit_type, len(frame), tuple(_means(frame, prefix(method), COLUMNS)))


def _means(frame: pd.DataFrame, before: str, of: Iterable[Column]) -> Iterable[float | None]:
    for column in of:
        values = frame[f"{before}{column.metric}"].astype("float64").dropna()
        values = values.clip(lower=0) if column.is_least_zero else values
        yield float(values.mean()) * column.scale if len(values) else None
