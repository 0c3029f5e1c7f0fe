"""What earlier runs did with the rows of one source file at a time, read from the sink when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs import ledger
from jobs.done import COLUMNS, DoneRows
from jobs.sources import Fragment
from jobs.storage import Store
from operators.columns import SOURCE_ID

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

    def finished(self, fragments: Sequence[Fragment]) -> list[Places | None]:
        """For each fragment where all its rows are in ``done``; None if some are not, or only reading it tells."""
        if not len(self.done):
            return [None] * len(fragments)
        ids = [fragment.ids() for fragment in fragments]
        known = [found for found in ids if found is not None]
        chunks = [chunk for found in known for chunk in found.chunks]
        places = self.done.find(pa.chunked_array(chunks, pa.string()))
        shares = iter(np.split(places, np.cumsum([len(found) for found in known])))
        return [
            self._streamed(fragment) if found is None else _if_all(next(shares))
            for fragment, found in zip(fragments, ids, strict=True)
        ]

    def _streamed(self, fragment: Fragment) -> Places | None:
        """The rows of a file that must be read to be known, if it hasn't changed since all were done."""
        rows = np.arange(len(self.done))
        return rows if self.whole == WholeFile(fragment.file, len(rows), fragment.stretch.version()) else None


class Recall:
    """The outcomes of committed parts, file by file; those of one file are held at a time."""

    def __init__(self, store: Store, names: Iterable[str]) -> None:
        self._store = store
        self._parts = ledger.by_file(names)
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

    def _read(self, file: str) -> Earlier:
        wholes: list[WholeFile] = []

        def tables() -> Iterator[pa.Table]:
            for table in ledger.outcomes(self._store, self._parts.get(ledger.file_key(file), []), COLUMNS):
                noted = (table.schema.metadata or {}).get(WHOLE)
                wholes.extend([WholeFile(**json.loads(noted))] if noted else [])
                # Another file of the same key.
                yield table.filter(pc.starts_with(table[SOURCE_ID], f"{file}#")) if file else table

        done = DoneRows.of(tables())
        return Earlier(done, next((whole for whole in reversed(wholes) if whole.name == file), None))


def _if_all(places: Places) -> Places | None:
    return places if (places >= 0).all() else None
