"""Lance: a part's rows are one data file, which becomes a fragment of a table once the table is told of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from jobs.formats.base import DataFormat, Packed
from jobs.formats.publishing import publish, sweep
from jobs.formats.snapshots import Snapshot
from jobs.formats.table import FILES, FRAGMENT, location, options_for
from jobs.sink.ledger import Epoch
from jobs.stores.store import Store
from operators.errors import SpecError

_VERSION = "2.2"
"""Of Lance's file format: every file of a table must be of the same."""

_HERE = "part.lance"
_RESERVED = frozenset({"_rowid", "_rowaddr"})


class LanceFormat(DataFormat):
    """One data file for every part, named by its content, so that what a table refers to never changes."""

    folder = FILES
    replaces = True

    def home(self, epoch: Epoch) -> Store:
        """The sink itself, whatever the epoch: a table's files lie in its folder."""
        return epoch.sink

    def settle(self, epoch: Epoch, schema: pa.Schema, before: int) -> list[Snapshot]:
        """Bring the table to hold the rows of the parts that count, and remove data files of others."""
        made = publish(epoch, schema)
        sweep(epoch, before)
        return made

    def pack(self, stem: str, rows: pa.Table) -> Packed:
        """Encode the rows, in memory."""
        from lance.file import LanceFileSession

        # The table has the metadata; in a file they come in any order, and the same rows would not be the same bytes.
        bare = pa.schema([field.remove_metadata() for field in rows.schema])
        session = LanceFileSession("memory://")
        with session.open_writer(_HERE, schema=bare, version=_VERSION) as file:
            file.write_batch(pa.table(rows.columns, bare))
        data = session.read_range(_HERE, 0, file.size_bytes or 0)
        name = f"{stem}.{hashlib.blake2b(data, digest_size=4).hexdigest()}.lance"
        return Packed({f"{self.folder}/{name}": data}, {FRAGMENT: json.dumps(_fragment(name, len(data), rows))})

    def batches(self, store: Store, name: str, needed: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Read the data file."""
        from lance.file import LanceFileReader

        place = location(store)
        file = LanceFileReader(f"{place}/data/{name}", options_for(place), columns=needed)
        yield from file.read_all().to_batches()

    def refuse(self, schema: pa.Schema) -> None:
        """See that Lance is there and can hold the columns."""
        if find_spec("lance") is None:
            raise SpecError("Lance needs another package: pip install 'latentmill[lance]'", "sink.format")
        for field in schema:
            if "." in field.name or not field.name or field.name in _RESERVED:
                raise SpecError(f"Lance can't hold a column with the name {field.name!r}; rename it", "sink.format")


def _fragment(name: str, size: int, rows: pa.Table) -> dict[str, Any]:
    """A data file as a fragment, with Lance's own word for which of its columns are which fields of the schema."""
    from lance.fragment import write_fragments

    (like,) = write_fragments(rows[:1], "memory://", schema=rows.schema, mode="create", data_storage_version=_VERSION)
    fragment: dict[str, Any] = like.to_json()
    fragment["files"][0] |= {"path": name, "file_size_bytes": size}
    return fragment | {"physical_rows": rows.num_rows}
