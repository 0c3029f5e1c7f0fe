"""Files of a dataset: rows as Parquet, as a folder of pictures, or as a shard of samples."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.export.options import Layout
from jobs.export.splitting import Shard
from jobs.formats import naming, samples
from jobs.formats.shards import add
from jobs.stores.store import Store
from operators import columns
from operators.errors import SpecError

DATA = "data"

_GROUP_ROWS = 100
"""Rows of a Parquet row group: the hub's viewer reads one to show a page."""

_PICTURES_AT_ONCE = 8

Keyed = tuple[list[str], pa.Table]
"""Some rows, with a key for the files of each."""


@dataclass(frozen=True)
class File:
    """A file of the dataset, by its name from the dataset's root."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Written:
    """What came of a shard."""

    rows: int
    memory: int
    """Bytes that the rows take in memory."""
    size: int
    """Bytes of all files."""
    files: tuple[File, ...]
    """Those that hold the rows; not the pictures that they name."""


class Writing(ABC):
    """How rows become files."""

    pattern: ClassVar[str]
    """The files of a split, from the dataset's root; ``{}`` stands for the split."""

    def refuse(self, schema: pa.Schema) -> None:  # noqa: B027
        """See that such columns can be written.

        Raises:
            SpecError: one can't.
        """

    @abstractmethod
    def write(self, target: Store, shard: Shard, schema: pa.Schema, rows: Iterator[Keyed]) -> Written:
        """Write a shard; the same rows are the same files.

        Raises:
            SinkError: the target can't be written.
        """


class ParquetWriting(Writing):
    """One Parquet file."""

    pattern = f"{DATA}/{{}}-*.parquet"

    def write(self, target: Store, shard: Shard, schema: pa.Schema, rows: Iterator[Keyed]) -> Written:
        """Encode a row group after the other, so that only encoded ones are in memory."""
        data, memory = _encoded(schema, rows)
        file = _put(target, f"{DATA}/{shard.name}.parquet", data)
        return Written(shard.rows, memory, file.size, (file,))


class WebDatasetWriting(Writing):
    """One shard of samples: ``KEY.png``, ``KEY.COLUMN.png``, ``KEY.txt``, ``KEY.json``."""

    pattern = f"{DATA}/{{}}-*.tar"

    def refuse(self, schema: pa.Schema) -> None:
        """As for a sink in this format."""
        samples.Layout(schema).refuse()

    def write(self, target: Store, shard: Shard, schema: pa.Schema, rows: Iterator[Keyed]) -> Written:
        """Add a sample after the other."""
        layout, stream, memory = samples.Layout(schema), io.BytesIO(), 0
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for keys, table in rows:
                memory += table.nbytes
                for key, row in zip(keys, _finite(table).to_pylist(), strict=True):
                    for ending, data in layout.files(row):
                        add(tar, f"{key}.{ending}", data)
        file = _put(target, f"{DATA}/{shard.name}.tar", stream.getvalue())
        return Written(shard.rows, memory, file.size, (file,))


class ImageFolderWriting(Writing):
    """A folder of pictures, and ``metadata.jsonl`` that tells which belong together and the rest."""

    pattern = f"{DATA}/{{}}/**"

    def refuse(self, schema: pa.Schema) -> None:
        """See that there is a picture, that names of columns make files' names, and that JSON has the others' types."""
        if not any(map(_is_picture, schema)):
            raise SpecError("imagefolder needs a column of pictures; write another format", "--format")
        for field in schema:
            if _is_picture(field) and "/" in field.name:
                raise SpecError(f"the column {field.name!r} can't be part of a file's name; rename it", "--columns")
            if naming.picture_in(field.name) is not None:
                raise SpecError(f"the column {field.name!r} would be taken for a picture's; rename it", "--columns")
            if not _is_picture(field) and not _is_json(field.type):
                told = f"imagefolder can't hold the column {field.name!r} ({field.type})"
                raise SpecError(f"{told}; leave it out, or write parquet", "--format")

    def write(self, target: Store, shard: Shard, schema: pa.Schema, rows: Iterator[Keyed]) -> Written:  # noqa: ARG002
        """Put some pictures at a time, and in the end what tells of them."""
        folder = f"{DATA}/{shard.split}/{shard.number:05d}"
        lines, memory, size = io.BytesIO(), 0, 0
        with ThreadPoolExecutor(_PICTURES_AT_ONCE) as pool:
            for keys, table in rows:
                objects, told = _named(keys, _finite(table))
                list(pool.map(target.put, (f"{folder}/{name}" for name in objects), objects.values()))
                lines.writelines(f"{json.dumps(row, ensure_ascii=False)}\n".encode() for row in told)
                memory, size = memory + table.nbytes, size + sum(map(len, objects.values()))
        file = _put(target, f"{folder}/metadata.jsonl", lines.getvalue())
        return Written(shard.rows, memory, size + file.size, (file,))


WRITINGS: dict[Layout, Writing] = {
    Layout.PARQUET: ParquetWriting(),
    Layout.IMAGEFOLDER: ImageFolderWriting(),
    Layout.WEBDATASET: WebDatasetWriting(),
}


def _encoded(schema: pa.Schema, rows: Iterator[Keyed]) -> tuple[bytes, int]:
    """Rows as a Parquet file, and the bytes that they took before."""
    stream, memory = pa.BufferOutputStream(), 0
    with pq.ParquetWriter(stream, schema, compression="zstd", use_dictionary=_texts(schema)) as file:
        for group in _groups(table for _, table in rows):
            file.write_table(group, row_group_size=_GROUP_ROWS)
            memory += group.nbytes
    return stream.getvalue().to_pybytes(), memory


def _put(target: Store, name: str, data: bytes) -> File:
    target.put(name, data)
    return File(name, len(data), hashlib.sha256(data).hexdigest())


def _named(keys: list[str], rows: pa.Table) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The files of the rows' pictures, by name; and the rows, with these names in place of the pictures."""
    objects: dict[str, bytes] = {}
    for at, field in enumerate(rows.schema):
        if _is_picture(field):
            infix = "" if field.name == naming.MAIN else f".{field.name}"
            data = [picture and picture["bytes"] for picture in rows[at].to_pylist()]
            names = [held and f"{key}{infix}.{naming.ending(held)}" for key, held in zip(keys, data, strict=True)]
            objects |= {name: held for name, held in zip(names, data, strict=True) if name}
            rows = rows.set_column(at, naming.file_name(field.name), pa.array(names, pa.string()))
    return objects, rows.to_pylist()


def _groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of :data:`_GROUP_ROWS`, the last one of what is left."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        while sum(one.num_rows for one in waiting) >= _GROUP_ROWS:
            joined = pa.concat_tables(waiting)
            yield joined[:_GROUP_ROWS]
            waiting = [joined[_GROUP_ROWS:]]
    if any(one.num_rows for one in waiting):
        yield pa.concat_tables(waiting)


def _finite(table: pa.Table) -> pa.Table:
    """Numbers that JSON hasn't become null."""
    for at, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            finite = pc.if_else(pc.is_finite(table[at]), table[at], pa.scalar(None, field.type))
            table = table.set_column(at, field, finite)
    return table


def _texts(schema: pa.Schema) -> list[str]:
    """Columns whose values may be the same in many rows."""
    return [field.name for field in schema if pa.types.is_string(field.type)]


def _is_picture(field: pa.Field) -> bool:
    return columns.feature(field) == "Image"


def _is_json(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return all(_is_json(field.type) for field in kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_json(kind.value_type)
    plain = (pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    return any(fits(kind) for fits in (*plain, pa.types.is_string, pa.types.is_large_string))
