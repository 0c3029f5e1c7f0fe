"""WebDataset: a part's rows are one tar shard."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from itertools import groupby

import pyarrow as pa

from jobs.formats import naming
from jobs.formats.base import DataFormat, Packed
from jobs.formats.samples import SCHEMA, Layout
from jobs.formats.shards import add, members, split
from jobs.stores.store import Store
from operators import columns


class WebDatasetFormat(DataFormat):
    """One shard for every part: ``KEY.png``, ``KEY.COLUMN.png``, ``KEY.txt``, ``KEY.json`` for every row."""

    folder = "data"

    def pack(self, stem: str, rows: pa.Table) -> Packed:
        """Put the rows into a shard."""
        layout = Layout(rows.schema)
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as shard:
            add(shard, SCHEMA, layout.encoded())
            for batch in rows.to_batches(1):
                (row,) = batch.to_pylist()
                for ending, data in layout.files(row):
                    add(shard, f"{naming.key(row[columns.ROW_ID])}.{ending}", data)
        return Packed({f"{self.folder}/{stem}.tar": stream.getvalue()})

    def batches(self, store: Store, name: str, needed: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Every sample of the shard."""
        with store.open(f"{self.folder}/{name}") as stream:
            files = members(stream, "r|*")
            layout = Layout.parse(next(files).read())
            for key, sample in groupby(files, lambda file: split(file.name)[0]):
                row = layout.row(key, {split(file.name)[1]: file.read() for file in sample})
                yield pa.RecordBatch.from_pylist([row], layout.schema).select(needed or layout.schema.names)

    def refuse(self, schema: pa.Schema) -> None:
        """See that samples can hold the columns."""
        Layout(schema).refuse()
