"""How far a job is, told by its sink alone: who runs it, whether that still lives, what is done and what is left."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from jobs.sink import ledger
from jobs.sink.holder import PATIENCE, Holder
from jobs.sink.ledger import Mode, Start
from jobs.sink.pace import per_second
from jobs.sink.tally import Tally, tally
from jobs.stores.store import Store
from operators.errors import SinkError

_READERS = 16


class State(StrEnum):
    """What became of the newest run."""

    RUNNING = "running"
    DEAD = "dead"
    """It has not said how it ended, but its process is gone, or has given no sign of life for long."""
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Status:
    """A sink's newest run, and the rows of all its runs."""

    sink: str
    job: str | None
    state: State
    run_id: str
    epoch: int
    mode: Mode
    host: str | None
    pid: int | None
    started: str
    updated: str
    """The last sign of life."""
    rows: int | None
    """Rows of the source, where they are known without reading it."""
    rows_done: int
    """Source rows with an outcome."""
    accepted: int
    """Rows that came out."""
    filtered: int
    """Rows that a filter left out; if ``exact``, source rows of which it left nothing."""
    rejected: dict[str, int]
    """Rejected rows by code, without those that were retried."""
    exact: bool
    """Whether the rows were counted, and not what the runs have told: one that was killed tells nothing of its end."""
    parts: int
    rows_per_second: float | None
    """Of this run, from its first part's first step on."""
    rows_per_second_lately: float | None
    """Over the last minute."""
    seconds_left: float | None
    steps: dict[str, dict[str, float]]

    @property
    def advice(self) -> str | None:
        """How to go on, where something is left to do."""
        flag = {Mode.EXTEND: " --extend", Mode.OVERWRITE: " --overwrite"}.get(self.mode, "")
        again = f"latentmill {'retry' if self.mode is Mode.RETRY else 'run'} JOB.yaml{flag}"
        if self.state in (State.DEAD, State.FAILED, State.STOPPED):
            return f"what was committed is kept; `{again}` goes on from there"
        if self.state is State.DONE and self.rejected:
            return "`latentmill retry JOB.yaml` tries the rejected rows again"
        return None

    def as_json(self) -> dict[str, Any]:
        """The figures by name, and how to go on."""
        return {**asdict(self), "advice": self.advice}


def look(sink: Store, exact: bool = False) -> Status:
    """See how far the newest run on a sink is; names are listed and records read, but nothing of the parts.

    Args:
        sink: where a job writes.
        exact: read all outcomes and count, and don't go by what the runs have told.

    Raises:
        SinkError: no job has written here, or the store fails.
    """
    newest = ledger.newest(sink.names(ledger.EPOCHS))
    start = ledger.entry(sink, newest) if newest else None
    if start is None:
        raise SinkError("no job has written here; name the sink of one, as its job file does", sink.uri)
    records = runs(sink)
    record = next((run for run in records if run["run_id"] == start.run_id), {})
    place = _place(sink, newest, start)
    counted = ledger.committed(place)
    exact = exact or not records
    became = tally(place, counted) if exact else told(records)
    summary = record.get("summary", {})
    rate = per_second(summary.get("rows_in"), summary.get("working_seconds"))
    lately = record.get("rows_per_second_lately")
    rows = next((run["rows"] for run in reversed(records) if run.get("rows") is not None), None)
    left = None if rows is None else max(rows - became.rows, 0)
    state = _state(start, record)
    return Status(
        sink=sink.uri,
        job=record.get("job", {}).get("name"),
        state=state,
        run_id=start.run_id,
        epoch=newest,
        mode=Mode(start.mode),
        host=start.holder.get("host"),
        pid=start.holder.get("pid"),
        started=start.started,
        updated=record.get("updated", start.started),
        rows=rows,
        rows_done=became.rows,
        accepted=became.accepted,
        filtered=became.filtered,
        rejected=dict(became.rejected),
        parts=len(counted),
        exact=exact,
        rows_per_second=rate,
        rows_per_second_lately=lately,
        seconds_left=None if state is State.DONE else per_second(left, lately or rate),
        steps=_steps(record),
    )


def _steps(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Each step's figures, with the speed of all its actors together over the last minute."""
    lately = record.get("steps_per_second_lately", {})
    figures = record.get("summary", {}).get("steps", {})
    return {
        name: step | ({"rows_per_second_lately": lately[name]} if name in lately else {})
        for name, step in figures.items()
    }


def runs(sink: Store) -> list[dict[str, Any]]:
    """The records of all runs, in the order in which they began."""
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(sink.get, (f"{ledger.RUNS}/{run}/run.json" for run in sink.names(ledger.RUNS))))
    return sorted((json.loads(data) for data in found if data), key=lambda record: int(record["epoch"]))


def told(records: list[dict[str, Any]]) -> Tally:
    """What became of rows, as the runs have told it: one that was killed tells nothing of its last seconds."""
    counted, before = Tally(), dict[str, Any]()
    for record in records:
        summary = record.get("summary", {})
        if _begins_anew(record, before):
            counted = Tally()
        if record["mode"] != Mode.RETRY:
            # Rows that have changed in the source are done again, and counted once.
            known = max(counted.rows, summary.get("rows_before", 0))
            counted.rows = known + summary.get("rows_in", 0) - summary.get("changed", 0)
        counted.accepted += summary.get("rows_out", 0)
        counted.filtered += summary.get("filtered", 0)
        counted.rejected.update(summary.get("rejected", {}))
        counted.rejected.subtract(summary.get("retried", {}))
        before = record
    counted.rejected = +counted.rejected
    return counted


def _begins_anew(record: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether a run overwrites, and does not just go on with what the run before it overwrites."""
    same = before.get("mode"), before.get("fingerprint") == record["fingerprint"], before.get("state") != State.DONE
    return record["mode"] == Mode.OVERWRITE and same != (Mode.OVERWRITE, True, True)


def _state(start: Start, record: dict[str, Any]) -> State:
    state = State(record.get("state", State.RUNNING))
    if state is not State.RUNNING:
        return state
    silent = datetime.now(UTC) - datetime.fromisoformat(record.get("updated", start.started))
    gone = Holder(**start.holder).has_ended() or silent > timedelta(seconds=PATIENCE * start.beat_seconds)
    return State.DEAD if gone else State.RUNNING


def _place(sink: Store, epoch: int, start: Start) -> Store:
    """Where the parts are that the newest run adds to."""
    beside = start.mode is Mode.OVERWRITE and ledger.in_force(sink) < epoch
    return ledger.next_generation(sink) if beside else sink
