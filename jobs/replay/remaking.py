"""Rows made again by the operators themselves, without Ray: each in a batch of the size that it was made in.

The sums of a network are rounded by the shape of its batch, and not by a row's place in it or by what the other rows
hold. So rows from anywhere share batches, and one that is not full is filled up with rows that are in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lineage.steps import chain
from jobs.replay.recorded import Placed, Recorded
from jobs.sink import batches
from operators import columns
from operators.base import Loaded, compute_with
from operators.watch import Watch


@dataclass(frozen=True)
class Wanted:
    """A row that is to be made again."""

    row_id: str
    source_id: str
    noted: Mapping[bytes, bytes]
    """Metadata of the outcomes of its part, which tell the sizes of its batches."""


@dataclass
class Remade:
    """What came of it."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Rows in flight, by row id."""
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Why rows failed, by the id that they failed under."""
    weights: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the models' weights, by model."""
    unsized: bool = False
    """Whether the sink doesn't tell how many rows went through the networks together; full batches are taken then."""

    def error(self, row_id: str) -> dict[str, Any] | None:
        """Why a row, or what it comes of, failed."""
        return next((told for failed, told in self.errors.items() if f"{row_id}/".startswith(f"{failed}/")), None)


class Filled(Watch):
    """Fills up batches that are smaller than others, with their own rows."""

    def filled(self, batch: list[int], size: int) -> list[int]:
        """The rows of the batch, again and again."""
        return list(islice(cycle(batch), size))


def remade(recorded: Recorded, rows: pa.Table, wanted: Iterable[Wanted]) -> Remade:
    """Take source rows through the steps of a recorded job.

    Args:
        recorded: the job.
        rows: source rows in flight, each once.
        wanted: what is to become of them.

    Raises:
        ModelError: a model can't be had.
    """
    found, wanted = Remade(), list(wanted)
    names = [step.name for step in recorded.steps]
    ids = {one.row_id: chain(names, one.source_id, one.row_id) for one in wanted}
    before = {one.row_id: one.source_id for one in wanted}
    operator: Loaded[Any] | None = None
    for at, step in enumerate(recorded.steps):
        # The last one is let go of when this one has been loaded: they may share networks.
        operator = step.spec.load(step=step.name, batch_rows=step.batch_rows, compiled=step.compiled)
        if step.spec.models() and step.threads:
            compute_with(step.threads)
        found.weights |= operator.digests()
        alike: dict[int | None, dict[str, str]] = defaultdict(dict)
        for one in wanted:
            after = ids[one.row_id][at]
            alike[batches.told(one.noted, step.name).of(after)][after] = before[one.row_id]
            before[one.row_id] = after
        found.unsized |= None in alike and bool(step.spec.models())
        made = [_taken(operator, step, rows, size, became) for size, became in alike.items()]
        rows = _live(pa.concat_tables(made, promote_options="default"), found)
    found.rows = {row[columns.ROW_ID]: row for row in rows.to_pylist()}
    return found


def _taken(
    operator: Loaded[Any], step: Placed, rows: pa.Table, size: int | None, became: Mapping[str, str]
) -> pa.Table:
    """The rows that came out of a step in batches of one size: ``became`` has their ids, and what they had been."""
    operator.batch_rows = size or step.batch_rows
    made = operator(rows.filter(_among(rows, became.values())), Filled())
    return made.filter(_among(made, became.keys()))


def _among(rows: pa.Table, ids: Iterable[str]) -> pa.ChunkedArray:
    return pc.is_in(rows[columns.ROW_ID], pa.array(sorted(set(ids)), pa.string()))


def _live(rows: pa.Table, found: Remade) -> pa.Table:
    """The rows that go on: all that did not fail. What a filter says of rows alone is not what it said of the whole."""
    failed = pc.is_valid(rows[columns.ERROR])
    for row in rows.filter(failed).select([columns.ROW_ID, columns.ERROR]).to_pylist():
        found.errors[row[columns.ROW_ID]] = row[columns.ERROR]
    kept = rows.filter(pc.invert(failed))
    at = kept.schema.get_field_index(columns.KEPT)
    return kept.set_column(at, columns.KEPT, pa.repeat(True, kept.num_rows))
