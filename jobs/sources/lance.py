"""Lance tables, such as sinks with ``format: lance``; of any version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats.table import TABLE, located, options_for
from jobs.sources.base import Located, Scan, Source, Stretch
from jobs.sources.files import Listing, explained
from jobs.sources.selection import WRITTEN_BY_US
from jobs.sources.spec import SourceSpec
from operators.columns import ROW_ID
from operators.errors import SourceError

if TYPE_CHECKING:
    from lance import LanceDataset, LanceFragment

SUFFIXES = (".lance",)

_ADDRESS = "_rowaddr"
"""What Lance calls the place of a row: its fragment, and 32 bits of its number in there."""


@dataclass(frozen=True)
class FragmentRows(Stretch):
    """Neighbouring rows of a fragment of a table."""

    place: str
    snapshot: int
    fragment: int
    state: str
    """The fragment's files: what is written or deleted later makes others."""
    named: bool
    """Whether the rows have ids of ours."""
    first: int
    rows: int

    def version(self) -> str:
        """The fragment's files."""
        return self.state

    def locators(self) -> pa.Array:
        """The rows' own ids, or their places."""
        return self._read([])[0]

    def tables(self, part_rows: int, needed: list[str] | None) -> Iterator[Located]:
        """Read the rows, and cut them."""
        locators, table = self._read(needed)
        for first in range(0, self.rows, part_rows):
            yield locators[first : first + part_rows], table[first : first + part_rows]

    def _read(self, needed: list[str] | None) -> Located:
        columns = needed if needed is None or not self.named else list(dict.fromkeys([*needed, ROW_ID]))
        with explained(self.place):
            scanner = self._opened.scanner(
                columns=columns, offset=self.first, limit=self.rows, with_row_address=not self.named
            )
            table = scanner.to_table()
        return self._ids(table), table if self.named else table.drop_columns(_ADDRESS)

    def _ids(self, table: pa.Table) -> pa.Array:
        if self.named:
            return table[ROW_ID].combine_chunks()
        numbers = pc.bit_wise_and(table[_ADDRESS], pa.scalar((1 << 32) - 1, pa.uint64())).cast(pa.string())
        return pc.binary_join_element_wise(str(self.fragment), numbers, "#").combine_chunks()

    @cached_property
    def _opened(self) -> LanceFragment:
        found = opened(self.place, self.snapshot).get_fragment(self.fragment)
        if found is None:
            raise SourceError(f"fragment {self.fragment} of version {self.snapshot} is gone", self.place)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_opened"}


class LanceSource(Source):
    """A table; rows are called by their ids if Latentmill wrote them, else by fragment and number: ``3#17``.

    A sink of Latentmill stands for its table. ``snapshot`` is the version to read; the newest unless given.
    """

    def __init__(self, listing: Listing, spec: SourceSpec) -> None:
        super().__init__(spec)
        self.spec = spec
        root = listing.uri.rstrip("/")
        with explained(root):
            self.place = located(root if root.endswith(SUFFIXES) else f"{root}/{TABLE}")

    def scan(self, part_rows: int) -> Scan:
        """List the fragments of the version."""
        table = opened(self.place, self.spec.snapshot)
        named = WRITTEN_BY_US in (table.schema.metadata or {}) and ROW_ID in table.schema.names
        stretches: list[Stretch] = []
        for fragment in table.get_fragments():
            told = fragment.metadata
            state = " ".join([*(file.path for file in told.files), str(told.deletion_file or "")])
            rows = told.num_rows
            stretches += [
                FragmentRows(self.place, table.version, told.id, state, named, first, min(part_rows, rows - first))
                for first in range(0, rows, part_rows)
            ]
        return Scan(self.place, table.schema, stretches)


def opened(place: str, version: int | None) -> LanceDataset:
    """A table, or a version of it.

    Raises:
        SourceError: it is not there, or Lance is not.
    """
    import lance

    with explained(place):
        try:
            return lance.dataset(place, version=version, storage_options=options_for(place))
        except ValueError as error:
            told = "there is no table here" if version is None else f"there is no snapshot {version}"
            raise SourceError(f"{told}; `latentmill snapshots` lists those of a sink", place) from error
