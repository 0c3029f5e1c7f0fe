"""Versions of source files and rows that were looked at again: all is as the outcomes have it, or was told of.

An outcome has the version that its row was read at. Where a file is newer and its rows are the same, no row is made
again, so no new outcome says that it was looked at; a run that ends whole notes that here, file by file, or row by row
where ids don't start with a file's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.sink.ledger import STATE, Epoch, epoch_of
from jobs.stores.store import Store
from operators.columns import SOURCE_ID

FILES = f"{STATE}/files"
GONE = -1
"""The version of a row that is no longer in the source, and of which a run has told."""

_READERS = 32


@dataclass(frozen=True)
class Seen:
    """The newest version at which each was looked at, and the epoch of the run that did. All have the same length."""

    names: pa.Array
    versions: pa.Array
    epochs: pa.Array

    @classmethod
    def load(cls, store: Store) -> Seen:
        """What the runs so far have noted.

        Raises:
            SinkError: the sink can't be read.
        """
        files = sorted(store.names(FILES))
        with ThreadPoolExecutor(_READERS) as pool:
            found = zip(files, pool.map(store.get, [f"{FILES}/{name}" for name in files]), strict=True)
            newest = {
                name: (version, int(file.partition(".")[0]))
                for file, data in found
                if data is not None
                for name, version in _pairs(data)
            }
        versions, epochs = zip(*newest.values(), strict=True) if newest else ((), ())
        return cls(pa.array(newest, pa.string()), pa.array(versions, pa.int64()), pa.array(epochs, pa.int64()))

    def of(self, name: str) -> int | None:
        """The version at which a file was looked at last."""
        at = pc.index(self.names, name).as_py()
        return None if at < 0 else self.versions[at].as_py()

    def over(self, outcomes: pa.Table, part: str, file: str) -> pa.Table:
        """A part's outcomes with these versions in the place of those that are older.

        Args:
            outcomes: with their source ids and versions.
            part: what the part is called.
            file: the file that their ids start with; empty where they start with none.
        """
        if not len(self.names):
            return outcomes
        names = pa.repeat(file, outcomes.num_rows) if file else outcomes[SOURCE_ID]
        at = pc.index_in(names, self.names)
        later = pc.and_(
            pc.greater_equal(self.epochs.take(at), epoch_of(part)), pc.not_equal(self.versions.take(at), GONE)
        )
        versions = pc.if_else(pc.fill_null(later, False), self.versions.take(at), outcomes["version"])
        return outcomes.set_column(outcomes.schema.get_field_index("version"), "version", versions)

    def gone(self, ids: pa.ChunkedArray, part: str) -> pa.ChunkedArray:
        """Which of these rows of a part were already told of as gone."""
        at = pc.index_in(ids, self.names)
        told = pc.and_(pc.greater_equal(self.epochs.take(at), epoch_of(part)), pc.equal(self.versions.take(at), GONE))
        return pc.fill_null(told, False)


def note(epoch: Epoch, versions: Mapping[str, int]) -> None:
    """Note what a run that has done all rows has looked at.

    Raises:
        SinkError: the sink can't be written.
    """
    if versions:
        table = pa.table({"name": pa.array(versions, pa.string()), "version": pa.array(versions.values(), pa.int64())})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        epoch.store.put(f"{FILES}/{epoch.number:06d}.parquet", bytes(sink.getvalue()))


def forget(store: Store) -> None:
    """Take back all notes, as of rows that were made anew.

    Raises:
        SinkError: the sink can't be written.
    """
    store.remove(f"{FILES}/{name}" for name in store.names(FILES))


def _pairs(data: bytes) -> Iterable[tuple[str, int]]:
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        table = file.read(use_threads=False)
    return zip(table["name"].to_pylist(), table["version"].to_pylist(), strict=True)
