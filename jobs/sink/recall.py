"""What earlier runs did with the rows of one source file at a time, read from the sink when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.sink import ledger
from jobs.sink.done import COLUMNS, DoneRows
from jobs.sink.seen import Seen
from jobs.sources import Fragment
from jobs.sources.content import mark
from jobs.stores.store import Store
from operators.columns import CONTENT_HASH, SOURCE_ID

WHOLE = b"latentmill.file"
"""Metadata of the outcomes of a file's last part, where only reading the file tells how many rows it has."""

Places = NDArray[np.intp]


@dataclass(frozen=True)
class WholeFile:
    """How many rows a file had when it was read to its end."""

    name: str
    rows: int
    version: str

    def noted(self) -> dict[str, str]:
        """As metadata of outcomes."""
        return {WHOLE.decode(): json.dumps(asdict(self))}


@dataclass(frozen=True)
class Earlier:
    """What became of the rows of one file."""

    done: DoneRows
    whole: WholeFile | None
    seen: int | None = None
    """The version of the file at which all its rows were looked at, if that was after some of them were done."""

    def finished(self, fragments: Sequence[Fragment]) -> list[Places | None]:
        """For each fragment where all its rows are in ``done``; None if some are not, or may have changed."""
        if not len(self.done):
            return [None] * len(fragments)
        ids = [fragment.ids() for fragment in fragments]
        known = [found for found in ids if found is not None]
        chunks = [chunk for found in known for chunk in found.chunks]
        places = self.done.find(pa.chunked_array(chunks, pa.string()))
        shares = iter(np.split(places, np.cumsum([len(found) for found in known])))
        return [
            self._streamed(fragment) if found is None else self._if_all(next(shares), fragment)
            for fragment, found in zip(fragments, ids, strict=True)
        ]

    def _streamed(self, fragment: Fragment) -> Places | None:
        """The rows of a file that must be read to be known, if it hasn't changed since all were done."""
        rows, version = np.arange(len(self.done)), fragment.stretch.version()
        whole = self.whole == WholeFile(fragment.file, len(rows), version) and self._if_all(rows, fragment) is not None
        return rows if whole or self.seen == mark(version) else None

    def _if_all(self, places: Places, fragment: Fragment) -> Places | None:
        """The places, if every row is there and none may have changed."""
        there = (places >= 0).all() and (self.done.version[places] == fragment.versions()[: len(places)]).all()
        return places if there else None


class Recall:
    """The outcomes of committed parts, file by file; those of one file are held at a time."""

    def __init__(self, store: Store, names: Iterable[str], seen: Seen) -> None:
        self._store = store
        self._parts = ledger.by_file(names)
        self._seen = seen
        self._held: tuple[str, Earlier] | None = None

    def of(self, file: str) -> Earlier:
        """What was done of a file's rows.

        Args:
            file: its name inside the dataset; empty for a source whose ids don't tell a file.

        Raises:
            SinkError: the sink can't be read.
        """
        if self._held is None or self._held[0] != file:
            self._held = None
            self._held = file, self._read(file)
        return self._held[1]

    def contents(self, file: str) -> NDArray[np.uint64]:
        """A hash of what each row of ``of(file).done`` held.

        Raises:
            SinkError: the sink can't be read.
        """
        done = self.of(file).done
        held = np.zeros(len(done), np.uint64)
        for table in ledger.outcomes(self._store, self._names(file), [SOURCE_ID, CONTENT_HASH]):
            places = done.find(table[SOURCE_ID])
            # Rows of another file of the same key are not there.
            held[places[places >= 0]] = hashed(table[CONTENT_HASH])[places >= 0]
        return held

    def _names(self, file: str) -> list[str]:
        return self._parts.get(ledger.file_key(file), [])

    def _read(self, file: str) -> Earlier:
        wholes: list[WholeFile] = []

        def tables() -> Iterator[pa.Table]:
            names = self._names(file)
            for name, table in zip(names, ledger.outcomes(self._store, names, COLUMNS), strict=True):
                noted = (table.schema.metadata or {}).get(WHOLE)
                wholes.extend([WholeFile(**json.loads(noted))] if noted else [])
                # Another file of the same key.
                rows = table.filter(pc.starts_with(table[SOURCE_ID], f"{file}#")) if file else table
                yield self._seen.over(rows, name, file)

        done = DoneRows.of(tables())
        whole = next((whole for whole in reversed(wholes) if whole.name == file), None)
        return Earlier(done, whole, self._seen.of(file) if file else None)


def hashed(contents: pa.ChunkedArray) -> NDArray[np.uint64]:
    """64 bits of each content hash."""
    values: NDArray[np.uint64] = pd.util.hash_array(contents.to_numpy(), categorize=False)
    return values
