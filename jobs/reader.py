"""Actors that read a source and make parts of the rows that no earlier run has done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from operator import attrgetter

import pyarrow as pa
import ray

from jobs import ledger
from jobs.content import content_hashes
from jobs.parts import pack
from jobs.recall import Recall, WholeFile
from jobs.sources import Fragment
from operators import columns
from operators.seeds import row_seeds

FOLDER = "latentmill.folder"
"""Metadata of a part's rejects: the URI that relative paths of pictures start at."""


@dataclass(frozen=True)
class Stamp:
    """What every row of one run carries."""

    source_uri: str
    run_id: str
    plan: str
    seed: int

    def rows(self, table: pa.Table) -> pa.Table:
        """Source rows with their lineage and the columns that rows in flight have."""
        ids = table[columns.SOURCE_ID]
        count = table.num_rows
        added = {
            columns.ROW_ID: ids,
            columns.SOURCE_URI: pa.repeat(self.source_uri, count),
            columns.CONTENT_HASH: content_hashes(table.drop_columns(columns.SOURCE_ID)),
            columns.RUN_ID: pa.repeat(self.run_id, count),
            columns.PLAN: pa.repeat(self.plan, count),
            columns.SEED: row_seeds(self.seed, ids.to_pylist()),
            columns.ERROR: pa.nulls(count, columns.ERROR_TYPE),
            columns.KEPT: pa.repeat(True, count),
        }
        for name, column in added.items():
            table = table.append_column(name, column)
        return table


class Packer:
    """Makes parts of source rows, without those that are done."""

    def __init__(self, stamp: Stamp, recall: ray.ObjectRef[Recall]) -> None:
        self.stamp = stamp
        self.recall = ray.get(recall)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Rows of a source without files."""
        before: Counter[str] = Counter()
        yield from self.part("", table, before)
        yield from _told(before)

    def part(
        self, file: str, table: pa.Table, before: Counter[str], noted: dict[str, str] | None = None
    ) -> Iterator[pa.Table]:
        """The part that a file's new rows are, if there are any; those that are done are counted."""
        done = self.recall.of(file).done
        places = done.find(table[columns.SOURCE_ID])
        before.update(done.counts(places[places >= 0]))
        new = table.filter(pa.array(places < 0))
        if new.num_rows:
            notes = {"file": ledger.file_key(file), "noted": noted or {}, "began": None, "steps": {}}
            yield pack(self.stamp.rows(new), notes)


class Reader:
    """Reads shares of a source's fragments and makes parts of them."""

    def __init__(
        self,
        stamp: Stamp,
        recall: ray.ObjectRef[Recall],
        shares: list[ray.ObjectRef[list[Fragment]]],
        part_rows: int,
    ) -> None:
        self.packer = Packer(stamp, recall)
        self.shares = shares
        self.part_rows = part_rows

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """The parts of the shares with these numbers, and last what was done of them before."""
        for number in batch["task"].to_pylist():
            before: Counter[str] = Counter()
            for file, fragments in groupby(ray.get(self.shares[number]), attrgetter("file")):
                for fragment in self._unfinished(file, list(fragments), before):
                    where = _start_of_paths(fragment)
                    for table, whole in self._tables(fragment):
                        yield from self.packer.part(file, table, before, where | (whole.noted() if whole else {}))
            yield from _told(before)

    def _unfinished(self, file: str, fragments: list[Fragment], before: Counter[str]) -> Iterator[Fragment]:
        earlier = self.packer.recall.of(file)
        for fragment, places in zip(fragments, earlier.finished(fragments), strict=True):
            if places is None:
                yield fragment
            else:
                before.update(earlier.done.counts(places))

    def _tables(self, fragment: Fragment) -> Iterator[tuple[pa.Table, WholeFile | None]]:
        """A fragment's tables; the last of a file that had to be read to its end comes with what that told."""
        ends_file = fragment.file and fragment.rows is None
        version, rows = fragment.stretch.version() if ends_file else "", 0
        tables = fragment.read(self.part_rows)
        table = next(tables, None)
        while table is not None:
            rows += table.num_rows
            following = next(tables, None)
            yield table, WholeFile(fragment.file, rows, version) if ends_file and following is None else None
            table = following


def shares(fragments: Sequence[Fragment], most: int) -> list[list[Fragment]]:
    """Cut fragments into about ``most`` shares of neighbours; a file that fits in one is in one."""
    size = ceil(len(fragments) / most)
    cut: list[list[Fragment]] = [[]]
    for _, group in groupby(fragments, attrgetter("file")):
        of_file = list(group)
        for first in range(0, len(of_file), size):
            piece = of_file[first : first + size]
            if len(cut[-1]) + len(piece) > size:
                cut.append([])
            cut[-1] += piece
    return cut


def _start_of_paths(fragment: Fragment) -> dict[str, str]:
    """Where paths of pictures start, for those that lead nowhere: they are looked up again in a retry."""
    folder = fragment.stretch.folder
    # A file inside another one, as in zip://, has no URI of its own.
    return {} if folder is None or "::" in fragment.uri else {FOLDER: folder.uri}


def _told(before: Counter[str]) -> Iterator[pa.Table]:
    """An empty part that brings to the driver what was done before, if anything was."""
    if before["rows"]:
        yield pack(pa.table({}), {"before": before})
