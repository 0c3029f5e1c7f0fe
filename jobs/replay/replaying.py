"""Rows of a sink made again, and what can be said of them then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from jobs.lineage.asked import Asked, State, asked_for
from jobs.pipeline.stamp import Stamp
from jobs.plan import Plan
from jobs.replay.comparing import Difference, compared
from jobs.replay.recorded import Recorded
from jobs.replay.remaking import Remade, Wanted, remade
from jobs.sink.record import packages
from jobs.sink.rows import SinkRows
from jobs.sources.lookup import lookup
from jobs.spec import Job
from jobs.stores.store import Store
from operators import columns
from operators.errors import SinkError, UserError
from operators.models.machine import machine

_DIGITS = 12


class Result(StrEnum):
    """How a row that was made again compares with the one that is stored."""

    EQUAL = "equal"
    """To the last byte in every column that the steps wrote."""
    CLOSE = "within tolerance"
    DIFFERENT = "different"
    FAILED = "not made"


@dataclass(frozen=True)
class ReplayedRow:
    """One row, made again."""

    row_id: str
    run_id: str
    result: Result
    columns: list[Difference] = field(default_factory=list)
    why: str = ""
    """Of a row that was not made, or whose source row is another than then."""
    pictures: dict[str, tuple[bytes, bytes]] = field(default_factory=dict, repr=False)
    """By column, as they are stored and as they were made."""

    def as_json(self) -> dict[str, Any]:
        """The row by name, without pictures."""
        told = {"row_id": self.row_id, "run_id": self.run_id, "result": self.result.value, "why": self.why}
        return told | {"columns": [asdict(column) for column in self.columns]}


@dataclass
class Replayed:
    """Rows that were made again, and what is other than when they were made first."""

    sink: str
    rows: list[ReplayedRow] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    @property
    def within(self) -> bool:
        """Whether all rows are within the tolerance."""
        return all(row.result in (Result.EQUAL, Result.CLOSE) for row in self.rows)

    def count(self, result: Result) -> int:
        """Rows with such a result."""
        return sum(row.result is result for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Counts, what is other than then, and the rows."""
        counts = {result.value: self.count(result) for result in Result}
        rows = [row.as_json() for row in self.rows]
        return {"sink": self.sink, "within": self.within, "counts": counts, "changed": self.changed, "rows": rows}


def replay(
    sink: Store, ids: Sequence[str] = (), job: Job | None = None, sample: int | None = None, seed: int = 0
) -> Replayed:
    """Make rows again, in this process, from their source and the recorded job of their run.

    Args:
        sink: where the job wrote.
        ids: of rows, or of source rows: all that they became.
        job: the job itself; needed where its source or a step was made in Python, which no record can tell.
        sample: so many rows more, chosen at random.
        seed: of that choice.

    Raises:
        UserError: no job has written here, there is no such row, it was rejected or filtered, its run has left no
            record, or source or models can't be had.
    """
    rows = SinkRows.of(sink)
    asked = [one for row_id in ids for one in _accepted(rows, row_id)]
    asked += _drawn(rows, sample, seed) if sample else []
    by_run: dict[str, dict[str, Asked]] = defaultdict(dict)
    for one in asked:
        by_run[one.values[columns.RUN_ID]][one.values[columns.ROW_ID]] = one
    plan = None if job is None else job.plan()
    told = Replayed(sink.uri)
    for run_id, of_run in by_run.items():
        if run_id not in rows.runs:
            raise SinkError(f"run {run_id} left no record, so its rows can't be made again", sink.uri)
        _replay_run(rows.runs[run_id], [*of_run.values()], plan, told)
    return told


def _replay_run(record: Mapping[str, Any], asked: Sequence[Asked], plan: Plan | None, told: Replayed) -> None:
    recorded = Recorded.of(record, plan)
    wrote = {name for step in recorded.steps for name in step.spec.writes()}
    by_source: dict[str, list[Asked]] = defaultdict(list)
    for one in asked:
        by_source[one.values[columns.SOURCE_URI]].append(one)
    for uri, of_source in by_source.items():
        rows = lookup(recorded.at(uri), {one.values[columns.SOURCE_ID] for one in of_source})
        stamped = Stamp(uri, record["run_id"], record["fingerprint"], recorded.seed).rows(rows)
        hashes = dict(
            zip(*(stamped[name].to_pylist() for name in (columns.SOURCE_ID, columns.CONTENT_HASH)), strict=True)
        )
        there = [one for one in of_source if one.values[columns.SOURCE_ID] in hashes]
        wanted = [Wanted(one.values[columns.ROW_ID], one.values[columns.SOURCE_ID], one.noted) for one in there]
        made = remade(recorded, stamped, wanted) if wanted else Remade()
        told.rows += [_compared(one, made, wrote, hashes) for one in of_source]
        told.changed += [line for line in _changed(record, made) if line not in told.changed]


def _compared(one: Asked, made: Remade, wrote: set[str], hashes: Mapping[str, str]) -> ReplayedRow:
    row_id, run_id, source_id = (one.values[name] for name in (columns.ROW_ID, columns.RUN_ID, columns.SOURCE_ID))
    if source_id not in hashes:
        return ReplayedRow(row_id, run_id, Result.FAILED, why=f"the source no longer has the row {source_id}")
    other = hashes[source_id] != one.values[columns.CONTENT_HASH]
    why = f"the source row {source_id} holds something else than then" if other else ""
    if row_id not in made.rows:
        error = made.error(row_id) or {"step": "no step", "code": "?", "message": "the steps make no such row"}
        failed = f"{error['step']}: {error['code']}: {error['message']}"
        return ReplayedRow(row_id, run_id, Result.FAILED, why="; ".join(filter(None, [failed, why])))
    now = made.rows[row_id]
    fields = [one.schema.field(name) for name in one.schema.names if name in wrote]
    differences = [compared(column, one.values[column.name], now[column.name]) for column in fields]
    pictures = {
        column.name: (one.values[column.name]["bytes"], now[column.name]["bytes"])
        for column in fields
        if columns.is_image(column.type) and one.values[column.name] and now[column.name]
    }
    return ReplayedRow(row_id, run_id, _result(differences), differences, why, pictures)


def _result(differences: Iterable[Difference]) -> Result:
    told = list(differences)
    if all(difference.equal for difference in told):
        return Result.EQUAL
    return Result.CLOSE if all(difference.within for difference in told) else Result.DIFFERENT


def _changed(record: Mapping[str, Any], made: Remade) -> Iterator[str]:
    """What decides a row's last bits and is other than in the run."""
    run = record["run_id"]
    then = record.get("packages", {})
    for name, now in packages().items():
        if then.get(name) != now:
            yield f"{name} is {now}, and was {then.get(name)} in run {run}"
    weights = record.get("summary", {}).get("weights", {})
    for model, digest in made.weights.items():
        # What was pinned for the replay has its commit in the name.
        known = weights.get(model) or weights.get(model.rpartition("@")[0])
        if known is None:
            yield f"which weights of {model} run {run} had was not recorded; now they are {digest[:_DIGITS]}"
        elif known != digest:
            yield f"the weights of {model} are {digest[:_DIGITS]}, and were {known[:_DIGITS]} in run {run}"
    machines, here = record.get("summary", {}).get("machines", []), machine()
    if made.weights and machines and machines != [here]:
        yield f"this machine is {here}; run {run} computed on {' and '.join(machines)}"
    if made.unsized:
        yield f"run {run} did not record how many rows went through the networks together; full batches are taken"


def _accepted(rows: SinkRows, row_id: str) -> list[Asked]:
    found = asked_for(rows, row_id)
    accepted = [one for one in found if one.state is State.ACCEPTED]
    if not accepted:
        advice = f"`latentmill lineage {rows.sink.uri} {row_id}` tells why"
        raise UserError(f"{row_id} was {found[0].state}, so there is nothing to compare; {advice}", rows.sink.uri)
    return accepted


def _drawn(rows: SinkRows, count: int, seed: int) -> Iterator[Asked]:
    drawn = list(rows.sample(count, seed))
    sources = {source_id for _, table in drawn for source_id in table[columns.SOURCE_ID].to_pylist()}
    noted: dict[str, dict[str, Mapping[bytes, bytes]]] = defaultdict(dict)
    for part, lines in rows.outcomes(sources):
        for source_id in lines[columns.SOURCE_ID].to_pylist():
            noted[source_id][part] = lines.schema.metadata or {}
    for part, table in drawn:
        for row in table.to_pylist():
            of_source = noted[row[columns.SOURCE_ID]]
            told = of_source.get(part) or next(iter(of_source.values()), {})
            yield Asked(State.ACCEPTED, row, table.schema, part, {}, told)
