"""What a replay found, as text for a person."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.replay.comparing import Difference
from jobs.replay.replaying import Replayed, ReplayedRow, Result


def shown(replayed: Replayed) -> str:
    """A line for every row, those of columns that are not equal below it, and the sum."""
    counted = [(result, replayed.count(result)) for result in Result]
    total = ", ".join(f"{count:,} {result.value}" for result, count in counted if count)
    lines = [line for row in replayed.rows for line in _row(row)]
    return "\n".join([*lines, *(f"other than then: {line}" for line in replayed.changed), f"rows: {total or 'none'}"])


def _row(row: ReplayedRow) -> Iterator[str]:
    yield f"{row.row_id}: {row.result.value}" + (f" ({row.why})" if row.why else "")
    yield from (f"  {_column(column)}" for column in row.columns if not column.equal)


def _column(column: Difference) -> str:
    figures = [f"largest difference {column.largest:g}, mean {column.mean:.3g}"] if column.largest is not None else []
    return f"{column.column}: {'; '.join([*figures, *([column.told] if column.told else [])])}"
