"""A finished sink as its readers see it: the rows of the parts that count, whatever format they are stored in."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats import SinkFormat
from jobs.sink import ledger, rejects
from jobs.sink.ledger import SWITCH
from jobs.sink.stored import Batches, DamagedError, Stored, stored
from jobs.status import runs
from jobs.stores.store import Store
from operators.columns import ROW_ID, SOURCE_ID
from operators.errors import SinkError


@dataclass(frozen=True)
class Found:
    """One row, and the part that holds it."""

    part: str
    row: pa.Table
    """A table of one row."""

    def __getitem__(self, column: str) -> Any:
        """The row's value in a column, in Python."""
        return self.row[column][0].as_py()


@dataclass(frozen=True)
class SinkRows:
    """What counted in a sink when it was listed. Reading what another run has replaced since is a SinkError."""

    sink: Store
    """Where the job wrote."""
    format: SinkFormat
    parts: list[str]
    """Names of the parts that count; some have no accepted rows."""
    place: Store
    """Where those parts lie: the sink, or its next generation while a switch to that one goes on."""
    _stored: Stored

    @classmethod
    def of(cls, sink: Store) -> Self:
        """List a sink.

        Raises:
            SinkError: no job has written here, or the store fails.
        """
        start = ledger.entry(sink, ledger.in_force(sink))
        if start is None:
            raise SinkError("no job has written here; name the sink of one, as its job file does", sink.uri)
        kind = SinkFormat(start.plan.get("format", SinkFormat.PARQUET))
        place = ledger.next_generation(sink) if sink.exists(SWITCH) else sink
        parts = ledger.committed(place)
        # A table's files lie in the sink's own folder, whatever the generation.
        return cls(sink, kind, parts, place, stored(sink if kind is SinkFormat.LANCE else place, kind))

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of accepted rows; none where there are no such rows.

        Raises:
            SinkError: the sink can't be read.
        """
        return next((batch.schema for batch in self.batches()), pa.schema([]))

    @cached_property
    def runs(self) -> dict[str, dict[str, Any]]:
        """The records of all runs (``run.json``) by run id, in the order in which they began."""
        return {record["run_id"]: record for record in runs(self.sink)}

    def where(self, name: str) -> str:
        """The object or folder that a part's accepted rows are in, from the root of the sink."""
        return self._stored.where(name)

    @property
    def holders(self) -> list[str]:
        """What can be read with :meth:`part`: the parts that have rows, and what a table's owner made of others."""
        return [*(name for name in self.parts if self._stored.has(name)), *self._stored.mixed]

    def part(self, name: str, columns: Sequence[str] | None = None) -> Batches:
        """The accepted rows of a part, with all columns or those that are named.

        Raises:
            SinkError: they can't be read.
        """
        try:
            for batch in self._stored.batches(name, None if columns is None else [*columns]):
                yield batch if columns is None else batch.select(columns)
        except DamagedError as error:
            advice = f"`latentmill verify {self.sink.uri}` says what to do"
            where = f"{self.sink.uri}: {self._stored.where(name)}"
            raise SinkError(f"these rows can't be read ({error}); {advice}", where) from error

    def batches(self, columns: Sequence[str] | None = None) -> Batches:
        """All accepted rows, a part after the other; errors as for :meth:`part`."""
        for name in self.holders:
            yield from self.part(name, columns)

    def rejects(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows that are rejected now, with their reasons: ``_error_step``, ``_code``, ``_message``, ``_attempt``.

        Raises:
            SinkError: they can't be read.
        """
        for name in rejects.standing(self.place, self.parts):
            yield rejects.read(self.place, name, None if columns is None else [*columns])

    def with_rejects(self, names: Iterable[str]) -> list[str]:
        """Those of some parts that hold rows that are rejected now."""
        return [name for name in rejects.standing(self.place, self.parts) if name in {*names}]

    def outcomes(self, source_ids: Iterable[str]) -> Iterator[tuple[str, pa.Table]]:
        """What became of some source rows: parts, each with its outcomes of those rows, oldest first.

        Only outcomes of the files that the ids may start with are read; of sources whose ids start with none, all.

        Raises:
            SinkError: they can't be read.
        """
        wanted = pa.array(sorted(set(source_ids)), pa.string())
        keys = {ledger.file_key(file) for source_id in wanted.to_pylist() for file in ["", *_starts(source_id, "#")]}
        names = [name for name in self.parts if ledger.file_of(name) in keys]
        for name, table in zip(names, ledger.outcomes(self.place, names, _OUTCOME), strict=True):
            lines = table.filter(pc.is_in(table[SOURCE_ID], wanted))
            if lines.num_rows:
                yield name, lines

    def rows_of(
        self, source_ids: Iterable[str], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[str, pa.Table]]:
        """All accepted rows that some source rows became: parts, each with its rows of those; others are not read.

        Raises:
            SinkError: they can't be read.
        """
        wanted = pa.array(sorted(set(source_ids)), pa.string())
        needed = None if columns is None else list(dict.fromkeys([*columns, SOURCE_ID]))
        here = [name for name, lines in self.outcomes(wanted.to_pylist()) if pc.sum(lines["outputs"]).as_py()]
        for name in [*(name for name in here if self._stored.has(name)), *self._stored.mixed]:
            found = [batch.filter(pc.is_in(batch[SOURCE_ID], wanted)) for batch in self.part(name, needed)]
            rows = [batch for batch in found if batch.num_rows]
            if rows:
                yield name, pa.Table.from_batches(rows).select(columns or rows[0].schema.names)

    def sample(self, count: int, seed: int) -> Iterator[tuple[str, pa.Table]]:
        """Accepted rows chosen at random, all with the same chance: parts, each with those of its rows.

        Args:
            count: how many; all rows where there are fewer.
            seed: of the choice.

        Raises:
            SinkError: the sink can't be read.
        """
        names = [name for name in self.holders if name not in self._stored.mixed]
        told = ledger.outcomes(self.place, names, ["outputs"])
        sizes = [pc.sum(table["outputs"]).as_py() or 0 for table in told]
        sizes += [sum(batch.num_rows for batch in self.part(name, [ROW_ID])) for name in self._stored.mixed]
        ends = np.cumsum([0, *sizes])
        chosen = np.array(sorted(random.Random(seed).sample(range(ends[-1]), min(count, int(ends[-1])))), np.int64)
        for name, first, end in zip(self.holders, ends[:-1], ends[1:], strict=True):
            places = chosen[(chosen >= first) & (chosen < end)] - first
            if len(places):
                yield name, pa.Table.from_batches(self.part(name)).take(places)

    def find(self, row_id: str) -> Found | None:
        """The accepted row with this id, if there is one; only parts of its source row are read.

        Raises:
            SinkError: the sink can't be read.
        """
        for name, table in self.rows_of(source_ids_of(row_id)):
            at = pc.index(table[ROW_ID], row_id).as_py()
            if at >= 0:
                return Found(name, table[at : at + 1])
        return None


_OUTCOME = (SOURCE_ID, "outcome", "outputs", "rejects", "attempt", "content_hash")


def source_ids_of(row_id: str) -> list[str]:
    """The ids that the source row of a row may have: a 1 to N step has added ``/STEP.LABEL`` to it, or not."""
    return [*_starts(row_id, "/"), row_id]


def _starts(text: str, mark: str) -> list[str]:
    """What comes before each mark in a text."""
    pieces = text.split(mark)
    return list(accumulate(pieces[:-1], lambda start, piece: f"{start}{mark}{piece}"))
