"""Rows of a Ray Dataset that somebody has made already."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from jobs.sources.base import Described, Scan, Source
from jobs.sources.selection import Selection
from jobs.sources.spec import RowOptions
from operators.errors import SourceError

NAME = "ray_dataset"


class RayDatasetSource(Source):
    """A Ray Dataset with a column that identifies its rows: their place doesn't, since blocks come in any order."""

    def __init__(self, dataset: Any, options: RowOptions) -> None:
        if options.id is None:
            raise SourceError("name the column that identifies rows, as in RowOptions(id='sku')", NAME)
        if options.dedup is not None:
            raise SourceError(
                "duplicates are found in what can be read twice; write the dataset to Parquet first", NAME
            )
        super().__init__(options)
        self.dataset = dataset if options.limit is None else dataset.limit(options.limit)

    def scan(self, part_rows: int) -> Scan:  # noqa: ARG002
        """The columns; the rows stay where they are."""
        return Scan(NAME, pa.schema(self.dataset.schema().base_schema), [])

    def describe(self, part_rows: int = 256) -> Described:
        """The columns, and the rows if the dataset knows them without being run."""
        scan = self.scan(part_rows)
        selection = Selection.choose(scan.schema, self.options, scan.uri)
        return Described(scan.uri, selection.schema, None, [])

    def parts(self, rows: int) -> Any:
        """The dataset's rows as other sources give them, ``rows`` at a time at the most."""
        selection = Selection.choose(self.scan(rows).schema, self.options, NAME)
        return self.dataset.map_batches(_shaped, fn_args=(selection,), batch_size=rows, batch_format="pyarrow")


def _shaped(table: pa.Table, selection: Selection) -> pa.Table:
    locators = pa.nulls(table.num_rows, pa.string())
    return selection.shape(locators, table, None, NAME)
