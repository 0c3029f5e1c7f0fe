"""Actors that read a source and make parts of the rows that are new or have changed since an earlier run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil
from operator import attrgetter

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from jobs.formats.table import REPLACED
from jobs.pipeline.parts import pack
from jobs.pipeline.stamp import Stamp, contents
from jobs.pipeline.suspects import Suspects
from jobs.sink import ledger
from jobs.sink.recall import Recall, WholeFile, hashed
from jobs.sources import Fragment
from jobs.sources.content import mark
from operators import columns

FOLDER = "latentmill.folder"
"""Metadata of a part's rejects: the URI that relative paths of pictures start at."""


class Packer:
    """Makes parts of source rows that are new or have changed."""

    def __init__(self, stamp: Stamp, recall: ray.ObjectRef[Recall], replaces: bool) -> None:
        """Take what is needed.

        Args:
            stamp: what every row carries.
            recall: what earlier runs did.
            replaces: whether rows that have changed are made again, in the place of what they were.
        """
        self.stamp = stamp
        self.recall = ray.get(recall)
        self.replaces = replaces

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Rows of a source without files, all of which are there."""
        found = Found(known=len(self.recall.of("").done))
        versions = np.array([mark(content) for content in contents(table).to_pylist()], np.int64)
        yield from self.part("", table, versions, found, {})
        yield from found.told()

    def part(
        self, file: str, table: pa.Table, versions: NDArray[np.int64], found: Found, noted: dict[str, str]
    ) -> Iterator[pa.Table]:
        """The part that a file's new and changed rows are, if there are any; the others are counted.

        Args:
            file: the file that ids start with, or nothing.
            table: the rows.
            versions: of each row.
            found: what is counted and noticed.
            noted: what the part's objects are to say.
        """
        done, ids = self.recall.of(file).done, table[columns.SOURCE_ID]
        places = done.find(ids)
        known = places >= 0
        looked_at = np.flatnonzero(known & (done.version[places] != versions)) if len(done) else places[:0]
        changed = np.zeros(len(table), bool)
        if len(looked_at):
            now = hashed(pa.chunked_array([contents(table.take(looked_at))]))
            changed[looked_at] = now != self.recall.contents(file)[places[looked_at]]
            names = [file] * len(looked_at) if file else ids.take(looked_at).to_pylist()
            found.seen.update(zip(names, versions[looked_at].tolist(), strict=True))
        again = changed & self.replaces
        found.before.update(done.counts(places[known & ~again]))
        found.outdated += ids.filter(pa.array(changed & ~again)).to_pylist()
        new = ~known | again
        if new.any():
            if again.any():
                noted = noted | {REPLACED: json.dumps(ids.filter(pa.array(again)).to_pylist())}
            notes = {"file": ledger.file_key(file), "noted": noted, "began": None, "steps": {}}
            chosen = pa.array(new)
            yield pack(self.stamp.rows(table.filter(chosen), versions[new]), notes | {"changed": int(again.sum())})


@dataclass
class Found:
    """What a reader found of earlier runs' rows."""

    before: Counter[str] = field(default_factory=Counter)
    """What was done with those that are as they were."""
    outdated: list[str] = field(default_factory=list)
    """Those that have changed and are left as they were."""
    seen: dict[str, int] = field(default_factory=dict)
    """Files, or rows, that were compared with what was done, and at which version."""
    known: int = 0
    """How many rows are done of a source whose ids don't tell files, be they met or not."""

    def told(self) -> Iterator[pa.Table]:
        """An empty part that brings it to the driver, if there is anything."""
        if self.before["rows"] or self.outdated or self.seen or self.known:
            yield pack(pa.table({}), vars(self))


class Reader:
    """Reads shares of a source's fragments and makes parts of them."""

    def __init__(
        self,
        stamp: Stamp,
        recall: ray.ObjectRef[Recall],
        replaces: bool,
        shares: list[ray.ObjectRef[list[Fragment]]],
        part_rows: int,
        suspects: Suspects,
    ) -> None:
        self.suspects = suspects
        self.packer = Packer(stamp, recall, replaces)
        self.shares = shares
        self.part_rows = part_rows

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """The parts of the shares with these numbers, and last what was found of earlier runs' rows."""
        for number in batch["task"].to_pylist():
            found = Found()
            for file, fragments in groupby(ray.get(self.shares[number]), attrgetter("file")):
                for at, fragment in enumerate(self._unfinished(file, list(fragments), found)):
                    key = f"{number}/{file}/{at}"
                    self.suspects.whole(key, "reading", fragment.stretch.file_name or fragment.uri)
                    where = _start_of_paths(fragment)
                    for table, versions, whole in self._tables(fragment):
                        noted = where | (whole.noted() if whole else {})
                        yield from self.packer.part(file, table, versions, found, noted)
                    self.suspects.end(key)
            yield from found.told()

    def _unfinished(self, file: str, fragments: list[Fragment], found: Found) -> Iterator[Fragment]:
        earlier = self.packer.recall.of(file)
        found.known += 0 if file else len(earlier.done)
        for fragment, places in zip(fragments, earlier.finished(fragments), strict=True):
            if places is None:
                yield fragment
            else:
                found.before.update(earlier.done.counts(places))

    def _tables(self, fragment: Fragment) -> Iterator[tuple[pa.Table, NDArray[np.int64], WholeFile | None]]:
        """A fragment's tables; the last of a file that had to be read to its end comes with what that told."""
        ends_file = fragment.file and fragment.rows is None
        tables, rows = marked(fragment, self.part_rows), 0
        read = next(tables, None)
        while read is not None:
            rows += read[0].num_rows
            following = next(tables, None)
            whole = WholeFile(fragment.file, rows, fragment.stretch.version()) if ends_file else None
            yield *read, whole if following is None else None
            read = following


def marked(fragment: Fragment, part_rows: int) -> Iterator[tuple[pa.Table, NDArray[np.int64]]]:
    """A fragment's tables, each with the versions of its rows."""
    versions, first = fragment.versions(), 0
    for table in fragment.read(part_rows):
        last = first + table.num_rows
        yield table, versions[first:last] if len(versions) > 1 else np.repeat(versions, table.num_rows)
        first = last


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
