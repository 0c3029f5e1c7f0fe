"""ImageFolder: a part's rows are a folder of pictures with a table that tells the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.formats import naming
from jobs.formats.base import DataFormat, Packed
from jobs.formats.parquet import encoded
from jobs.stores.store import Store
from operators import columns
from operators.errors import SpecError

METADATA = "metadata.parquet"

_BATCH = 64


class ImageFolderFormat(DataFormat):
    """A folder for every part: ``KEY.png``, ``KEY.COLUMN.png`` for every row, and ``metadata.parquet``.

    The table keeps the columns' types, which JSON lines would lose.
    """

    folder = "data"

    def pack(self, stem: str, rows: pa.Table) -> Packed:
        """Take the pictures out of the rows."""
        folder, keys = f"{self.folder}/{stem}", [naming.key(row_id) for row_id in rows[columns.ROW_ID].to_pylist()]
        objects: dict[str, bytes] = {}
        for at, field in enumerate(rows.schema):
            if columns.is_image(field.type):
                infix = "" if field.name == naming.MAIN else f".{field.name}"
                pictures = rows[field.name].to_pylist()
                data = [picture and picture["bytes"] for picture in pictures]
                names = [
                    None if held is None else f"{key}{infix}.{naming.ending(held)}"
                    for key, held in zip(keys, data, strict=True)
                ]
                objects |= {f"{folder}/{name}": held for name, held in zip(names, data, strict=True) if name}
                rows = rows.set_column(at, naming.file_name(field.name), pa.array(names, pa.string()))
        return Packed(objects | {f"{folder}/{METADATA}": encoded(rows)})

    def batches(self, store: Store, name: str, needed: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, with every picture read."""
        folder = f"{self.folder}/{name}"
        with store.open(f"{folder}/{METADATA}") as stream, pq.ParquetFile(stream) as table:
            for batch in table.iter_batches(_BATCH, use_threads=False):
                yield _with_pictures(store, folder, batch, needed)

    def refuse(self, schema: pa.Schema) -> None:
        """See that there is a picture, and no column that would be taken for one."""
        features = {field.name: columns.feature(field) for field in schema if columns.is_image(field.type)}
        pictures = [name for name, feature in features.items() if feature == "Image"]
        for name in features.keys() - {*pictures}:
            told = f"imagefolder holds pictures, and the column {name!r} is {features[name]}; write another format"
            raise SpecError(told, "sink.format")
        if not pictures:
            raise SpecError("imagefolder needs a column of pictures; write another format", "sink.format")
        for name in schema.names:
            if name in pictures and "/" in name:
                raise SpecError(f"the column {name!r} can't be part of a file's name; rename it", "sink.format")
            if naming.picture_in(name) is not None or name.endswith(f"_{naming.NAME}s"):
                raise SpecError(f"the column {name!r} would be taken for names of pictures; rename it", "sink.format")


def _with_pictures(store: Store, folder: str, batch: pa.RecordBatch, needed: list[str] | None) -> pa.RecordBatch:
    held: dict[str, Any] = {}
    for name in batch.schema.names:
        column = naming.picture_in(name)
        if needed is None or (column or name) in needed:
            held[column or name] = _read(store, folder, batch[name]) if column else batch[name]
    return pa.RecordBatch.from_pydict(held, metadata=batch.schema.metadata)


def _read(store: Store, folder: str, names: pa.Array) -> pa.Array:
    rows = [name and {"bytes": store.get(f"{folder}/{name}"), "path": name} for name in names.to_pylist()]
    for row in rows:
        if row and row["bytes"] is None:
            raise FileNotFoundError(f"{folder}/{row['path']}")
    return pa.array(rows, columns.IMAGE)
