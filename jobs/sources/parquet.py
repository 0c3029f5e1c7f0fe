"""Parquet files: row groups are streamed, a task takes a few of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.sources.base import Located, Scan, Source, Stretch, numbered
from jobs.sources.files import File, Folder, Listing, explained
from jobs.sources.spec import SourceSpec
from operators import columns
from operators.errors import SourceError

SUFFIXES = (".parquet", ".pq")

_BUFFER = 1 << 22
"""Bytes of a column that are fetched at once: memory stays small however large a row group is."""

_THREADS = 16


@dataclass(frozen=True)
class RowGroups(Stretch):
    """Neighbouring row groups of one file."""

    file: File
    groups: tuple[int, ...]
    first: int
    """Index in the file of the first row."""
    rows: int

    @property
    def file_name(self) -> str:
        """The file's name."""
        return self.file.name

    @property
    def folder(self) -> Folder:
        """The file's folder."""
        return self.file.folder

    def version(self) -> str:
        """The file's."""
        return self.file.version

    def locators(self) -> pa.Array:
        """By the rows' index in the file."""
        return numbered(self.file.name, self.first, self.rows)

    def tables(self, part_rows: int, needed: list[str] | None) -> Iterator[Located]:
        """Stream the row groups."""
        first = self.first
        with explained(self.file.path), _opened(self.file) as parquet:
            batches = parquet.iter_batches(part_rows, row_groups=list(self.groups), columns=needed)
            for table in _evened(batches, part_rows):
                yield numbered(self.file.name, first, table.num_rows), table
                first += table.num_rows


class ParquetSource(Source):
    """Parquet files of one schema; rows are called ``cats/part-3.parquet#1234``, by their index in the file.

    ``key=value`` folders add no columns.
    """

    def __init__(self, listing: Listing, spec: SourceSpec) -> None:
        super().__init__(spec)
        self.listing = listing

    def scan(self, part_rows: int) -> Scan:
        """Read the footers, and group row groups until a task has ``part_rows`` rows."""
        files = self.listing.files if len(self.listing.files) == 1 else self.listing.ending(*SUFFIXES)
        with ThreadPoolExecutor(_THREADS) as pool:
            footers = list(pool.map(_footer, files))
        schemas = [schema for _, schema in footers]
        for file, schema in zip(files, schemas, strict=True):
            _refuse_difference(schemas[0], schema, self.options.needed(), file, files[0])
        stretches = [
            s for file, (sizes, _) in zip(files, footers, strict=True) for s in _grouped(file, sizes, part_rows)
        ]
        return Scan(self.listing.uri, schemas[0], stretches)


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    # Parquet asks for exactly the ranges that it needs: reading ahead would fetch them twice.
    with file.open(cache_type="none") as stream, pq.ParquetFile(stream, buffer_size=_BUFFER) as parquet:
        yield parquet


def _footer(file: File) -> tuple[list[int], pa.Schema]:
    with explained(file.path), _opened(file) as parquet:
        metadata = parquet.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        return sizes, parquet.schema_arrow


def _grouped(file: File, sizes: list[int], part_rows: int) -> Iterator[Stretch]:
    """Neighbouring row groups together, each time until they hold ``part_rows`` rows."""
    groups: list[int] = []
    first = rows = 0
    for group, size in enumerate(sizes):
        groups.append(group)
        rows += size
        if rows >= part_rows or group == len(sizes) - 1:
            yield RowGroups(file, tuple(groups), first, rows)
            groups, first, rows = [], first + rows, 0


def _evened(batches: Iterator[pa.RecordBatch], part_rows: int) -> Iterator[pa.Table]:
    """Tables of ``part_rows`` rows from batches that end wherever a row group does."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        table = pa.Table.from_batches(waiting)
        if table.num_rows >= part_rows:
            yield table[:part_rows]
            waiting = table[part_rows:].to_batches()
    if waiting:
        yield pa.Table.from_batches(waiting)


def _refuse_difference(model: pa.Schema, given: pa.Schema, needed: list[str] | None, file: File, first: File) -> None:
    """Refuse a file whose columns, as far as they are needed, are not those of the first file."""
    for name in dict.fromkeys([*model.names, *given.names]) if needed is None else needed:
        kinds = [[field.type for field in schema if field.name == name] for schema in (model, given)]
        if kinds[0] != kinds[1]:
            there, here = (" and ".join(map(str, kind)) or "missing" for kind in kinds)
            message = (
                f"column {name!r} is {here} in {file.name}, but {there} in {first.name}; choose others with `columns`"
            )
            raise SourceError(message, file.path)
        if any(map(columns.is_tensor, kinds[0])) and model.field(name).metadata != given.field(name).metadata:
            message = f"the tensors in column {name!r} were made in another way than those of {first.name}"
            raise SourceError(
                f"{message}; read the files in two jobs, or choose other columns with `columns`", file.path
            )
