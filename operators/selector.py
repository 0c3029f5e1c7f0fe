"""What steps that leave rows out have in common: they see all rows of a table at once, and add no column."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

import pyarrow as pa

from operators import columns
from operators.base import Loaded, Spec
from operators.errors import RowError
from operators.flight import failed, left_out, live, with_row_columns
from operators.watch import Watch

S = TypeVar("S", bound=Spec)


class Selector(Loaded[S]):
    """A step that leaves rows out; a table holds all rows of a source row, so it may compare these with each other."""

    def __call__(self, table: pa.Table, watch: Watch | None = None) -> pa.Table:  # noqa: ARG002
        """Leave rows out of those that are still live; no networks are at work, so nobody has to stand by."""
        table = with_row_columns(table)
        places = live(table)
        needed = self.spec.reads().keys() | {*columns.LINEAGE.names}
        seen = table.select([name for name in table.column_names if name in needed])
        reasons, errors = self.judge(seen.take(pa.array(places, pa.int64())))
        table = failed(table, self.step, {places[row]: error for row, error in errors.items()})
        told = {places[row]: reason for row, reason in reasons.items() if row not in errors}
        return left_out(table, self.step, told)

    @abstractmethod
    def judge(self, rows: pa.Table) -> tuple[dict[int, str], dict[int, RowError]]:
        """Why rows are left out, and which can't be judged, by their place; all others are kept.

        Args:
            rows: with the columns that the step reads, and the lineage; those of one source row are in the order in
                which they were made.
        """


def families(rows: pa.Table) -> pa.ChunkedArray:
    """What the rows that come from the same source row have in common; outside a job, every table is one family."""
    if columns.SOURCE_ID in rows.column_names:
        return rows[columns.SOURCE_ID]
    return pa.chunked_array([pa.repeat("", rows.num_rows)])
