"""Parquet: a part's rows are one file, as are rejects and outcomes in every format."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.formats.base import DataFormat, Packed
from jobs.stores.store import Store

_BATCH = 64
_BUFFER = 1 << 22
"""Bytes of a column that are fetched at once: memory stays small however large a part is."""


class ParquetFormat(DataFormat):
    """One Parquet file for every part."""

    folder = "data"

    def pack(self, stem: str, rows: pa.Table) -> Packed:
        """Encode the rows."""
        return Packed({f"{self.folder}/{stem}.parquet": encoded(rows)})

    def batches(self, store: Store, name: str, needed: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Every row group, checksums included."""
        with (
            store.open(f"{self.folder}/{name}") as stream,
            pq.ParquetFile(stream, buffer_size=_BUFFER, page_checksum_verification=True) as parquet,
        ):
            yield from parquet.iter_batches(_BATCH, columns=needed, use_threads=False)


def encoded(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", store_schema=True, write_page_checksum=True)
    return bytes(sink.getvalue())
