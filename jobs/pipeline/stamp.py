"""What every source row carries from the moment that it is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.sources.content import content_hashes
from operators import columns
from operators.seeds import row_seeds


@dataclass(frozen=True)
class Stamp:
    """What every row of one run carries."""

    source_uri: str
    run_id: str
    plan: str
    seed: int

    def rows(self, table: pa.Table, versions: NDArray[np.int64] | None = None) -> pa.Table:
        """Source rows with their lineage and the columns that rows in flight have; versions are 0 unless known."""
        ids = table[columns.SOURCE_ID]
        count = table.num_rows
        added = {
            columns.ROW_ID: ids,
            columns.SOURCE_URI: pa.repeat(self.source_uri, count),
            columns.CONTENT_HASH: contents(table),
            columns.RUN_ID: pa.repeat(self.run_id, count),
            columns.PLAN: pa.repeat(self.plan, count),
            columns.SEED: row_seeds(self.seed, ids.to_pylist()),
            columns.ERROR: pa.nulls(count, columns.ERROR_TYPE),
            columns.KEPT: pa.repeat(True, count),
            columns.VERSION: pa.array(np.zeros(count, np.int64) if versions is None else versions),
        }
        for name, column in added.items():
            table = table.append_column(name, column)
        return table


def contents(table: pa.Table) -> pa.Array:
    """The content hashes of source rows."""
    return content_hashes(table.drop_columns(columns.SOURCE_ID))
