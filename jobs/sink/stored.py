"""A sink's accepted rows as they are stored: part by part, in whatever format."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.formats import FORMATS, SinkFormat
from jobs.formats.table import TABLE, table
from jobs.sink import ledger
from jobs.stores.store import Store
from operators.failures import line

_BATCH = 64
_BUFFER = 1 << 22
"""Bytes of a column that are fetched at once: memory stays small however large a part is."""

_DAMAGE = (pa.ArrowException, OSError, tarfile.TarError, EOFError, KeyError, ValueError)
"""What readers of the formats raise where bytes are missing or others than were written."""

Batches = Iterator[pa.RecordBatch]


class DamagedError(Exception):
    """An object is not what was written."""


@dataclass(frozen=True)
class Stored:
    """Where each part's rows are."""

    folder: str
    names: Mapping[str, str]
    """What holds a part's rows, in the folder, by the stem of the part's name; or by its own name, if it is no part."""
    _open: Callable[[str, list[str] | None], Batches]
    _suffix: str = ""
    mixed: Sequence[str] = ()
    """What may hold rows of any part: in a table, what its owner has made of the parts' fragments."""

    def where(self, part: str) -> str:
        """The object of a part, from the root of the sink."""
        stem = part if part in self.mixed else ledger.stem(part)
        return f"{self.folder}/{self.names.get(stem, stem + self._suffix)}"

    def has(self, part: str) -> bool:
        """Whether there are rows of a part."""
        return ledger.stem(part) in self.names

    def batches(self, part: str, needed: list[str] | None = None) -> Batches:
        """A part's rows, with all columns or those that are needed.

        Raises:
            DamagedError: they are not there, or not as they were written.
            SinkError: the store fails.
        """
        return _checked(lambda: self._open(part if part in self.mixed else self.names[ledger.stem(part)], needed))


def stored(sink: Store, kind: SinkFormat) -> Stored:
    """Find the rows of a sink of such a format.

    Raises:
        SinkError: the sink can't be read.
    """
    if kind is SinkFormat.LANCE:
        return _in_table(sink)
    written = FORMATS[kind]
    names = sink.names(written.folder)
    by_stem = {ledger.stem(name) if ledger.is_part(name) else name: name for name in names}
    suffix = ".parquet" if kind is SinkFormat.PARQUET else ""
    return Stored(written.folder, by_stem, lambda name, needed: written.batches(sink, name, needed), suffix)


def parquet(sink: Store, name: str) -> Batches:
    """Rejects or outcomes, which are Parquet in every format; errors as in :meth:`Stored.batches`."""

    def read() -> Batches:
        with (
            sink.open(name) as stream,
            pq.ParquetFile(stream, buffer_size=_BUFFER, page_checksum_verification=True) as file,
        ):
            yield from file.iter_batches(_BATCH, use_threads=False)

    return _checked(read)


def _in_table(sink: Store) -> Stored:
    """The newest version of the table, without the rows that were replaced."""
    found = table(sink)
    fragments = {
        ledger.stem(fragment.metadata.files[0].path): fragment for fragment in (found.get_fragments() if found else ())
    }
    ours = {stem: stem for stem in fragments if ledger.is_part(stem)}
    mixed = sorted(fragments.keys() - ours.keys())

    def read(stem: str, needed: list[str] | None) -> Batches:
        yield from fragments[stem].to_batches(batch_size=_BATCH, columns=needed)

    return Stored(TABLE, ours, read, mixed=mixed)


def _checked(read: Callable[[], Batches]) -> Batches:
    try:
        yield from read()
    except FileNotFoundError:
        raise DamagedError("it is not there") from None
    except _DAMAGE as error:
        raise DamagedError(line(error) or type(error).__name__) from error
