"""How a job goes, and whether its sink is sound, as text for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from jobs.formats.snapshots import Snapshot
from jobs.show import table
from jobs.status import State, Status
from jobs.verifying.verdict import CHECKS, Verdict
from jobs.wording import rejected_by_code, spell

_OPEN = (State.RUNNING, State.DEAD)
"""States of a run that has not said how it ended."""


def shown_status(status: Status) -> str:
    """Progress, speed, who runs it, and how to go on."""
    head = f"{status.job or 'a job'}: {_state(status)} -> {status.sink}"
    lines = [("rows done", _rows(status)), ("parts", f"{status.parts:,}"), ("accepted", f"{status.accepted:,}")]
    lines += [("filtered", f"{status.filtered:,}")] if status.filtered else []
    lines += [("rejected", f"{count:,}  {code}") for code, count in sorted(status.rejected.items())]
    if status.rows_per_second is not None:
        lately = status.rows_per_second_lately
        added = "" if lately is None else f", {lately:,.1f} over the last minute"
        lines.append(("rows/s", f"{status.rows_per_second:,.1f} since the first row{added}"))
    if status.seconds_left is not None:
        lines.append(("time left", spell(status.seconds_left)))
    lines += [(name, _step(step)) for name, step in status.steps.items()]
    lines.append(("run", f"{status.run_id}, process {status.pid} on {status.host}"))
    since = (datetime.now(UTC) - datetime.fromisoformat(status.updated)).total_seconds()
    lines.append(("last sign of life" if status.state in _OPEN else "ended", f"{spell(since)} ago"))
    return "\n".join([head, table(lines), *([status.advice] if status.advice else [])])


def status_line(status: Status) -> str:
    """The same in a line."""
    told = [f"{_state(status)}: {_rows(status)} rows"]
    told += [f"{status.accepted:,} accepted"] if status.accepted else []
    told += [f"{status.filtered:,} filtered"] if status.filtered else []
    told += [rejected_by_code(status.rejected)] if status.rejected else []
    pace = status.rows_per_second_lately or status.rows_per_second
    told += [f"{pace:,.1f} rows/s"] if pace else []
    told += [f"{spell(status.seconds_left)} left"] if status.seconds_left is not None else []
    return ", ".join(told)


def shown_verdict(verdict: Verdict) -> str:
    """What was looked at, what is wrong, and what to do about it."""
    lines = [("check", "looked at", "wrong")]
    for code, seen in verdict.looked_at.items():
        title, things = CHECKS[code]
        lines.append((title, f"{seen:,} {things}", f"{len(verdict.of(code)):,}" if verdict.of(code) else "-"))
    return "\n\n".join([table(lines), *(["\n".join(verdict.lines())] if verdict.lines() else [])])


def shown_snapshots(snapshots: Sequence[Snapshot]) -> str:
    """What each run did, and the number to read it by."""
    lines = [("snapshot", "committed", "rows", "added", "removed", "run")]
    for one in snapshots:
        when = datetime.fromisoformat(one.committed).strftime("%Y-%m-%d %H:%M:%S")
        lines.append((str(one.version), when, f"{one.rows:,}", f"{one.added:,}", f"{one.removed:,}", one.run_id))
    return table(lines)


def _state(status: Status) -> str:
    mode = "" if status.mode == "run" else f" ({status.mode})"
    return f"{status.state}{mode}"


def _rows(status: Status) -> str:
    about = "at least " if status.state is State.DEAD and not status.exact else ""
    if not status.rows:
        return f"{about}{status.rows_done:,}"
    return f"{about}{status.rows_done:,} of {status.rows:,} ({status.rows_done / status.rows:.0%})"


def _step(step: Mapping[str, float]) -> str:
    told = [f"{step['rows_per_second']:,.1f} rows/s an actor"]
    told += [f"{step['rows_per_second_lately']:,.1f} rows/s lately"] if "rows_per_second_lately" in step else []
    told += [f"{step['card']:.0%} of its card"] if "card" in step else []
    return ", ".join(told)
