"""What comes of rejected rows that were tried again: committed in the place of the rejects that they were."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.sink import rejects
from jobs.sink.attempts import retry_digest
from jobs.sink.rejects import ATTEMPT
from jobs.sink.writer import OUTCOME, Writer, accepted, counts, rejected
from operators import columns

RETRIES = "latentmill.retries"
"""Metadata of a part's objects: the part whose rejects it has tried again."""


@dataclass(frozen=True)
class RetryWriter(Writer):
    """Commits parts of rows that were tried again.

    The new part's rejects are those that failed again and those of source rows that were not tried.
    """

    def commit(self, table: pa.Table, file: str, noted: Mapping[str, str]) -> dict[str, Any]:
        """Write a part and tell its counts, as :meth:`Writer.commit` does; ``noted`` names the part that it retries."""
        before = rejects.read(self.epoch.store, noted[RETRIES])
        tried = pc.is_in(before[columns.SOURCE_ID], table[columns.SOURCE_ID].combine_chunks())
        former, others = before.filter(tried), before.filter(pc.invert(tried))
        attempts = _next_attempts(former)
        table, answered = _formerly_rejected(_counted(table, attempts), former)
        # A plan that was extended may make other rows of a source row than the one that rejected them.
        unanswered = former.filter(pc.invert(pc.is_in(former[columns.ROW_ID], pa.array(answered, pa.string()))))
        failed_again = self.reasoned(rejected(table))
        still = [_tried(unanswered, attempts), others]
        left = pa.concat_tables([failed_again, *(some.select(failed_again.column_names) for some in still)])
        outcomes = _outcomes(table, unanswered, attempts)
        figures = self.put(self.epoch.part_name(retry_digest(noted[RETRIES]), file), table, left, outcomes, noted)
        told = counts(table)
        told["rejected"] = dict(Counter(told["rejected"]) + rejects.by_code(unanswered))
        return told | figures | {"rows_in": len(attempts), "retried": dict(rejects.by_code(former))}


def _next_attempts(former: pa.Table) -> dict[str, int]:
    """By source id: the number of the attempt that was made now."""
    attempts: dict[str, int] = defaultdict(int)
    for source_id, attempt in zip(former[columns.SOURCE_ID].to_pylist(), former[ATTEMPT].to_pylist(), strict=True):
        attempts[source_id] = max(attempts[source_id], attempt + 1)
    return dict(attempts)


def _counted(table: pa.Table, attempts: Mapping[str, int]) -> pa.Table:
    """Rows in flight whose errors tell the attempt."""
    pairs = zip(table[columns.SOURCE_ID].to_pylist(), table[columns.ERROR].to_pylist(), strict=True)
    errors = [error and error | {"attempt": attempts[source_id]} for source_id, error in pairs]
    at = table.schema.get_field_index(columns.ERROR)
    return table.set_column(at, columns.ERROR, pa.array(errors, columns.ERROR_TYPE))


def _tried(rejected: pa.Table, attempts: Mapping[str, int]) -> pa.Table:
    """Rejects that stay as they were, but for the attempt."""
    numbers = pa.array([attempts[source_id] for source_id in rejected[columns.SOURCE_ID].to_pylist()], pa.int32())
    return rejected.set_column(rejected.schema.get_field_index(ATTEMPT), ATTEMPT, numbers)


def _formerly_rejected(table: pa.Table, former: pa.Table) -> tuple[pa.Table, list[str]]:
    """Of rows in flight those that had been rejected, or come from such a row; and the ids that had been.

    A row may have been rejected late and now fail early, before it is many: then each that it would have become fails.
    """
    wanted: dict[str, dict[str, int]] = defaultdict(dict)
    for source_id, row_id, seed in _identified(former):
        wanted[source_id][row_id] = seed
    ended = pc.or_(pc.is_valid(table[columns.ERROR]), pc.invert(table[columns.KEPT])).to_pylist()
    places, ids, seeds, answered = [], [], [], []
    for place, (source_id, row_id, seed) in enumerate(_identified(table)):
        for was, seed_then in wanted[source_id].items():
            later = _is_of(row_id, was)
            if later or (ended[place] and _is_of(was, row_id)):
                places.append(place)
                ids.append(row_id if later else was)
                seeds.append(seed if later else seed_then)
                answered.append(was)
    taken = table.take(pa.array(places, pa.int64()))
    for name, column in ((columns.ROW_ID, pa.array(ids, pa.string())), (columns.SEED, pa.array(seeds, pa.int64()))):
        taken = taken.set_column(taken.schema.get_field_index(name), name, column)
    return taken, answered


def _identified(table: pa.Table) -> list[tuple[str, str, int]]:
    given = (table[name].to_pylist() for name in (columns.SOURCE_ID, columns.ROW_ID, columns.SEED))
    return list(zip(*given, strict=True))


def _is_of(row_id: str, ancestor: str) -> bool:
    return row_id == ancestor or row_id.startswith(f"{ancestor}/")


def _outcomes(table: pa.Table, unanswered: pa.Table, attempts: Mapping[str, int]) -> pa.Table:
    told = table.select([columns.SOURCE_ID, columns.ERROR, columns.KEPT])
    outputs, failed = (Counter(some(told)[columns.SOURCE_ID].to_pylist()) for some in (accepted, rejected))
    failed.update(unanswered[columns.SOURCE_ID].to_pylist())
    content = {
        source_id: content
        for given in (unanswered, table)
        for source_id, content in zip(
            given[columns.SOURCE_ID].to_pylist(), given[columns.CONTENT_HASH].to_pylist(), strict=True
        )
    }
    lines = {
        columns.SOURCE_ID: list(attempts),
        "outcome": ["ok" if outputs[i] else "rejected" if failed[i] else "filtered" for i in attempts],
        "outputs": [outputs[source_id] for source_id in attempts],
        "rejects": [failed[source_id] for source_id in attempts],
        "attempt": list(attempts.values()),
        columns.CONTENT_HASH: [content[source_id] for source_id in attempts],
        # The source was not looked at; the first attempt's outcome has it.
        "version": [0] * len(attempts),
    }
    return pa.table(lines, OUTCOME)
