"""What every source gives: a schema, and fragments that can be read anywhere, on their own, again and again."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.sources.content import mark
from jobs.sources.files import Folder
from jobs.sources.selection import Selection
from jobs.sources.spec import RowOptions
from operators import columns
from operators.errors import SourceError

_IDS_AT_ONCE = 1 << 16
_ROWS_AT_ONCE = 64

Located = tuple[pa.Array, pa.Table]
"""Rows as they are stored, and where each of them lies."""


class Stretch(ABC):
    """Rows that lie together in a dataset, and how to read them. Picklable."""

    rows: int | None
    """How many rows there are, or None where only reading tells."""

    @property
    def file_name(self) -> str:
        """The file that holds the rows, by its name inside the dataset; empty where none does, or several do."""
        return ""

    @property
    def folder(self) -> Folder | None:
        """Where relative paths of pictures in these rows start, or None where rows hold no paths."""
        return None

    @abstractmethod
    def tables(self, part_rows: int, needed: list[str] | None) -> Iterator[Located]:
        """Read tables of at most ``part_rows`` rows with the columns ``needed`` (None: all) or more."""

    def locators(self) -> pa.Array | None:
        """Where each row lies, or None where only reading the rows tells."""
        return None

    def listed(self) -> pa.Array | None:
        """The same, where a listing of what the rows are stored in tells."""
        return self.locators()

    def version(self) -> str:
        """What changes when the rows do, if something tells without their being read; else nothing."""
        return ""

    def versions(self) -> list[str] | None:
        """The same for each row, where that is known."""
        return None

    def count(self, most: int) -> int:
        """How many rows there are, or ``most`` where there are more."""
        return most if self.rows is None else min(most, self.rows)


@dataclass(frozen=True)
class Scan:
    """What a look at a dataset tells, before columns are chosen."""

    uri: str
    schema: pa.Schema
    stretches: list[Stretch]


@dataclass(frozen=True)
class Fragment:
    """A share of a source's rows that one task reads."""

    uri: str
    stretch: Stretch
    selection: Selection
    rows: int | None
    """How many rows :meth:`read` yields, or None where only reading tells."""

    @property
    def file(self) -> str:
        """The file that ids start with; empty where they start with none, or the source's own identify rows."""
        return self.stretch.file_name if self.selection.id is None else ""

    def ids(self) -> pa.ChunkedArray | None:
        """The rows' ids, where no more than an id column has to be read for them; else None."""
        locators = self.stretch.locators()
        if locators is None:
            return None
        if self.selection.id is None:
            return pa.chunked_array([locators[: self.rows]])
        tables = self.stretch.tables(_IDS_AT_ONCE, [self.selection.id])
        chunks = [chunk for located, table in tables for chunk in self.selection.ids(table, located, self.uri).chunks]
        return pa.chunked_array(chunks, pa.string())[: self.rows]

    def all_ids(self) -> pa.ChunkedArray:
        """The rows' ids, whatever has to be read for them."""
        ids = self.ids()
        if ids is not None:
            return ids
        if self.selection.id is None and (listed := self.stretch.listed()) is not None:
            return pa.chunked_array([listed])
        chunks = [chunk for table in self.read(_ROWS_AT_ONCE) for chunk in table[columns.SOURCE_ID].chunks]
        return pa.chunked_array(chunks, pa.string())

    def versions(self) -> NDArray[np.int64]:
        """A number for each row, or one for all, that is another when they may have changed; 0 if nothing tells."""
        told = self.stretch.versions()
        return np.array([mark(version) for version in (told or [self.stretch.version()])], np.int64)

    def read(self, part_rows: int) -> Iterator[pa.Table]:
        """Read the rows.

        Args:
            part_rows: the most rows that a table may have.

        Yields:
            Tables with the column ``source_id`` and then the source's columns; the same ones at every call.

        Raises:
            SourceError: the rows can't be read, or an id is null, or two rows share one.
        """
        seen: set[str] = set()
        left = sys.maxsize if self.rows is None else self.rows
        for locators, table in self.stretch.tables(part_rows, self.selection.needed):
            taken = self.selection.shape(locators[:left], table[:left], self.stretch.folder, self.uri)
            self._refuse_doubles(taken[columns.SOURCE_ID].to_pylist(), seen, locators)
            yield taken
            left -= taken.num_rows
            if not left:
                return

    def pick(self, wanted: pa.Array) -> Iterator[pa.Table]:
        """Read the rows with these ids alone, as :meth:`read` gives them; no picture is fetched for others."""
        for locators, table in self.stretch.tables(_ROWS_AT_ONCE, self.selection.needed):
            there = pc.is_in(self.selection.ids(table, locators, self.uri), wanted)
            if pc.any(there).as_py():
                picked = locators.filter(there.combine_chunks()), table.filter(there)
                yield self.selection.shape(*picked, self.stretch.folder, self.uri)

    def _refuse_doubles(self, ids: list[str], seen: set[str], locators: pa.Array) -> None:
        for row, source_id in enumerate(ids):
            if source_id in seen:
                raise SourceError(f"two rows have the id {source_id!r}; the second is {locators[row]}", self.uri)
            seen.add(source_id)


@dataclass(frozen=True)
class Described:
    """What is known of a source before it is read."""

    uri: str
    """The dataset's full URI, which goes into lineage."""
    schema: pa.Schema
    """Columns of the rows, without ``source_id``."""
    rows: int | None
    """How many rows there are, or None where only reading tells."""
    fragments: list[Fragment] = field(repr=False)


def numbered(name: str, first: int, rows: int, digits: int = 1) -> pa.StringArray:
    """Locators ``name#first`` and so on, each number with so many digits or more."""
    numbers = pc.utf8_lpad(pa.array(np.arange(first, first + rows)).cast(pa.string()), digits, "0")
    return pc.binary_join_element_wise(name, numbers, "#")


class Source(ABC):
    """A dataset to read."""

    def __init__(self, options: RowOptions) -> None:
        self.options = options

    @abstractmethod
    def scan(self, part_rows: int) -> Scan:
        """List the dataset's stretches; those that can be are cut to about ``part_rows`` rows."""

    def describe(self, part_rows: int = 256) -> Described:
        """Look at names, footers and first rows, but read no data.

        Args:
            part_rows: rows of a table that fragments will be read in; fragments are cut to fit.

        Raises:
            SourceError: there is nothing to read, or not as the options say.
        """
        scan = self.scan(part_rows)
        selection = Selection.choose(scan.schema, self.options, scan.uri)
        counted = list(_limited(scan.stretches, self.options.limit))
        fragments = [Fragment(scan.uri, stretch, selection, rows) for stretch, rows in counted]
        known = [rows for _, rows in counted if rows is not None]
        rows = sum(known) if len(known) == len(counted) else None
        return Described(scan.uri, selection.schema, rows, fragments)


def _limited(stretches: list[Stretch], limit: int | None) -> Iterator[tuple[Stretch, int | None]]:
    """The stretches that hold the first ``limit`` rows, each with how many of its rows those are."""
    if limit is None:
        yield from ((stretch, stretch.rows) for stretch in stretches)
        return
    for stretch in stretches:
        rows = stretch.count(limit)
        yield stretch, rows
        limit -= rows
        if not limit:
            return
