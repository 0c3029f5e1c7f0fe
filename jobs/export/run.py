"""An export: which rows go where, all files at a time that threads can write, and in the end what tells of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.export.card import card
from jobs.export.croissant import croissant
from jobs.export.facts import Facts, facts
from jobs.export.options import Options
from jobs.export.splitting import Shard, Splitting, shards
from jobs.export.table import Mapped
from jobs.export.target import Target
from jobs.export.writing import WRITINGS, Keyed, Written
from jobs.formats import naming
from jobs.sink import ledger
from jobs.sink.rows import SinkRows
from jobs.status import State, look
from jobs.stores.store import Store
from operators.columns import ROW_ID, SOURCE_ID
from operators.errors import SinkError

_FILE_BYTES = 1 << 27
_MEASURED = 64
"""Rows whose bytes tell how many make a file."""

_WRITERS, _READERS = 4, 16


@dataclass(frozen=True)
class Exported:
    """What an export has written."""

    target: str
    rows: dict[str, int]
    """By split."""
    files: int
    bytes: int
    columns: list[str]

    def as_json(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


def export(
    sink: str,
    target: str,
    options: Options,
    *,
    overwrite: bool = False,
    partial: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Exported:
    """Write a finished sink as a dataset; after a kill, the same again goes on from there.

    Args:
        sink: where a job wrote: a folder or fsspec URI.
        target: an empty or new folder or fsspec URI.
        options: what the dataset is to be.
        overwrite: replace the dataset that is there.
        partial: take what a run that has not ended has committed so far.
        progress: told how many files of how many are written.

    Raises:
        SinkError: the sink can't be read, its run has not ended, a column can't be found, the target is not empty.
        SpecError: a column is named that is not there, or the format can't hold one.
    """
    store = Store.at(sink)
    if not partial:
        _refuse_unfinished(store)
    source = _Source(SinkRows.of(store), options)
    writing = WRITINGS[options.format]
    writing.refuse(source.schema)
    todo = shards(source.counts, source.splitting.names, options.shard_rows or source.usual_shard_rows)
    place = Target.begin(Store.at(target), source.plan | {"shards": len(todo)}, overwrite)

    def written(shard: Shard) -> Written:
        done = place.done(shard)
        if done is None:
            done = writing.write(place.store, shard, source.schema, source.rows(shard))
            place.note(shard, done)
        return done

    by_shard: dict[Shard, Written] = {}
    progress(0, len(todo))
    pool = ThreadPoolExecutor(_WRITERS)
    try:
        for shard, done in zip(todo, pool.map(written, todo), strict=True):
            by_shard[shard] = done
            progress(len(by_shard), len(todo))
    finally:
        # Who stops it waits for the files that are being written, and no more.
        pool.shutdown(cancel_futures=True)
    known = facts(source.sink, source.record, options, source.mapped, by_shard, source.examples(todo))
    place.end(card(known), croissant(known))
    return _told(place.store.uri, known)


def _told(target: str, known: Facts) -> Exported:
    files = [file for written in known.written.values() for file in written.files]
    size = sum(written.size for written in known.written.values())
    return Exported(target, known.rows, len(files), size, known.schema.names)


def _refuse_unfinished(sink: Store) -> None:
    state = look(sink).state
    if state is State.RUNNING:
        raise SinkError("its run lives; wait for it, or take what there is so far with `--partial`", sink.uri)
    if state is not State.DONE:
        advice = "run the job again to complete it, or take what there is with `--partial`"
        raise SinkError(f"its last run did not end as it should ({state}); {advice}", sink.uri)


class _Source:
    """The rows of a sink as an export takes them."""

    def __init__(self, sink: SinkRows, options: Options) -> None:
        if not sink.schema.names:
            raise SinkError("there are no accepted rows here; nothing can be exported", sink.sink.uri)
        self.sink, self._options = sink, options
        self.splitting = Splitting.of(options)
        self.record = _record_in_force(sink)
        self.mapped = self._mapped(self.record)
        self.schema = self.mapped.schema
        self._by_epoch: dict[int, Mapped] = {}

    @cached_property
    def counts(self) -> dict[str, Counter[str]]:
        """Rows by split, of every part."""

        def counted(part: str) -> Counter[str]:
            found = Counter[str]()
            for batch in self.sink.part(part, [SOURCE_ID]):
                found.update(self.splitting(batch[SOURCE_ID]))
            return found

        with ThreadPoolExecutor(_READERS) as pool:
            return dict(zip(self.sink.holders, pool.map(counted, self.sink.holders), strict=True))

    @cached_property
    def usual_shard_rows(self) -> int:
        """So many rows that a file of them has about 128 MB."""
        some = next(self._batches(self.sink.holders[0]))[:_MEASURED]
        return max(1, _FILE_BYTES * int(some.num_rows) // max(int(some.nbytes), 1))

    @property
    def plan(self) -> dict[str, Any]:
        """What decides the dataset's content."""
        parts = hashlib.sha256("\n".join(self.sink.holders).encode()).hexdigest()
        return {"sink": self.sink.sink.uri, "parts": parts, "options": self._options.model_dump(mode="json")}

    def rows(self, shard: Shard) -> Iterator[Keyed]:
        """A shard's rows as the dataset has them.

        Raises:
            SinkError: they can't be read, or are fewer than they were.
        """
        for piece in shard.pieces:
            skip, left = piece.skip, piece.rows
            for batch in self._batches(piece.part):
                if not left:
                    break
                split = pa.array(self.splitting(batch[SOURCE_ID]))
                mine = batch.filter(pc.equal(split, shard.split))
                some = mine[skip : skip + left]
                skip, left = max(0, skip - mine.num_rows), left - some.num_rows
                if some.num_rows:
                    keys = [naming.key(row_id) for row_id in some[ROW_ID].to_pylist()]
                    yield keys, pa.Table.from_batches([self._of(piece.part).rows(some)])
            if left:
                told = f"{piece.part} has fewer rows than when it was counted; another run may have replaced it"
                raise SinkError(told, self.sink.sink.uri)

    def examples(self, todo: Sequence[Shard], rows: int = 3) -> list[dict[str, Any]]:
        """The first rows, without their pictures."""
        plain = [field.name for field in self.schema if not pa.types.is_nested(field.type)]
        tables = (table.select(plain) for shard in todo[:1] for _, table in self.rows(shard))
        return list(islice((row for table in tables for row in table.to_pylist()), rows))

    def _batches(self, part: str) -> Iterator[pa.RecordBatch]:
        return self.sink.part(part, self._of(part).needs)

    def _of(self, part: str) -> Mapped:
        """How the rows of a part become the dataset's, by the run that made them."""
        if not ledger.is_part(part):
            return self.mapped
        epoch = ledger.epoch_of(part)
        if epoch not in self._by_epoch:
            start = ledger.entry(self.sink.sink, epoch)
            record = self.sink.runs.get(start.run_id) if start else None
            self._by_epoch[epoch] = self._mapped(record or self.record)
        return self._by_epoch[epoch]

    def _mapped(self, record: dict[str, Any]) -> Mapped:
        return Mapped.of(record, self.sink.schema, self._options, self.sink.sink.uri)


def _record_in_force(sink: SinkRows) -> dict[str, Any]:
    """The record of the run whose plan the sink is of."""
    start = ledger.entry(sink.sink, ledger.in_force(sink.sink))
    record = sink.runs.get(start.run_id) if start else None
    if record is None:
        raise SinkError("the run that made these rows has left no record; run the job again", sink.sink.uri)
    return record
