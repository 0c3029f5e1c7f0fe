"""Rows that are in memory: an Arrow table, or what other formats amount to once listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from jobs.sources.base import Located, Scan, Source, Stretch, numbered
from jobs.sources.content import content_hashes
from jobs.sources.files import Folder
from jobs.sources.spec import RowOptions

NAME = "table"


@dataclass(frozen=True)
class TableStretch(Stretch):
    """Some rows of a table, each with its locator."""

    places: pa.Array
    table: pa.Table
    rows: int
    start: Folder | None
    marks: pa.Array | None = None
    """What each row's version is; that of its values unless given."""

    @property
    def folder(self) -> Folder | None:
        """What was given as the start of relative paths."""
        return self.start

    def __reduce__(self) -> Any:
        # A slice would be pickled with the whole table that it is cut from.
        sink = pa.BufferOutputStream()
        located = self.table.add_column(0, "locator", self.places)
        if self.marks is not None:
            located = located.add_column(0, "version", self.marks)
        with pa.ipc.new_stream(sink, located.schema) as stream:
            stream.write_table(located)
        return _restored, (sink.getvalue(), self.start, self.marks is not None)

    def locators(self) -> pa.Array:
        """Those that were given."""
        return self.places

    def versions(self) -> list[str]:
        """By the rows' values, which are here, unless others were given."""
        told: list[str] = (content_hashes(self.table) if self.marks is None else self.marks).to_pylist()
        return told

    def tables(self, part_rows: int, needed: list[str] | None) -> Iterator[Located]:  # noqa: ARG002
        """Slices of the table."""
        for first in range(0, self.rows, part_rows):
            yield self.places[first : first + part_rows], self.table[first : first + part_rows]


def _restored(data: pa.Buffer, start: Folder | None, marked: bool) -> TableStretch:
    located = pa.ipc.open_stream(data).read_all()
    marks = located.column(0).combine_chunks() if marked else None
    located = located.remove_column(0) if marked else located
    places = located.column(0).combine_chunks()
    return TableStretch(places, located.remove_column(0), located.num_rows, start, marks)


def cut(
    locators: Sequence[str] | pa.StringArray,
    table: pa.Table,
    part_rows: int,
    folder: Folder | None = None,
    versions: pa.StringArray | None = None,
) -> list[Stretch]:
    """Cut a table into stretches of ``part_rows`` rows that can be sent on their own."""
    places = pa.array(locators, pa.string())
    parts = [slice(first, first + part_rows) for first in range(0, table.num_rows, part_rows)]
    marks = [None if versions is None else versions[part] for part in parts]
    return [
        TableStretch(places[part], table[part], len(places[part]), folder, of_part)
        for part, of_part in zip(parts, marks, strict=True)
    ]


class TableSource(Source):
    """An Arrow table; its rows are called ``table#0``, ``table#1``, ... unless a column identifies them.

    Relative paths of pictures start at the current folder.
    """

    def __init__(self, table: pa.Table, options: RowOptions | None = None) -> None:
        super().__init__(options or RowOptions())
        self.table = table

    def scan(self, part_rows: int) -> Scan:
        """Cut the table into stretches."""
        here = Folder(LocalFileSystem(), Path.cwd().as_posix())
        locators = numbered(NAME, 0, self.table.num_rows)
        return Scan(NAME, self.table.schema, cut(locators, self.table, part_rows, here))
