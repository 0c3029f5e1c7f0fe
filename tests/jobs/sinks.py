"""Sinks as runs leave them, made without Ray: by the ledger, the record and the writer that a run uses."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from jobs import Job, ledger
from jobs.holder import Holder
from jobs.ledger import Epoch, Mode, Start
from jobs.plan import Plan
from jobs.reader import Stamp
from jobs.record import Record
from jobs.report import Summary
from jobs.storage import Store
from jobs.writer import Writer
from tests.jobs.steps import Fragile

ROWS, PART_ROWS = 12, 3
HOUR = 3600.0


def job(sink: str, broken: Path, to: tuple[str, ...] = ("a", "b"), rows: int = ROWS) -> Job:
    """A job over numbers, in parts of three rows; each becomes two rows, and some fail where ``broken`` says so."""
    broken.mkdir(exist_ok=True)
    table = pa.table({"n": range(rows)})
    step = Fragile(broken=str(broken), to=to)
    return Job(name="numbers", source=table, steps=[step], sink={"uri": sink, "part_rows": PART_ROWS})


@dataclass
class Run:
    """One start of a job, and what it does part by part."""

    plan: Plan
    start: Start
    epoch: Epoch
    record: Record
    summary: Summary

    def commit(self, parts: Iterable[int]) -> None:
        """Read and process parts by their numbers, and commit them."""
        operators = [step.spec.load(step=step.name) for step in self.plan.steps]
        stamp = Stamp(self.plan.source.uri, self.start.run_id, self.plan.fingerprint, self.plan.job.seed)
        for number in parts:
            (table,) = self.plan.source.fragments[number].read(PART_ROWS)
            table = stamp.rows(table)
            for operator in operators:
                table = operator(table)
            report = Writer(self.epoch, self.plan.output).commit(table, ledger.file_key(""), {})
            notes = {"began": float(number), "ended": number + 2.0, "steps": {}}
            self.summary.add(report | notes)
            self.record.tell(self.summary)

    def end(self, error: BaseException | None = None) -> None:
        """Write how it ended."""
        self.record.__exit__(None if error is None else type(error), error, None)


def begun(job: Job, mode: Mode = Mode.RUN, holder: Holder | None = None, beat_seconds: float = HOUR) -> Run:
    """A run of a job that has claimed its sink and done nothing yet."""
    plan, sink = job.plan(), Store.at(job.sink.uri)
    held_by = (holder or Holder.here()).as_json()
    columns = {field.name: str(field.type) for field in plan.output}
    start = Start(secrets.token_hex(4), plan.fingerprint, mode, plan.decisive, columns, held_by, beat_seconds)
    epoch = ledger.claim(sink, start, ledger.check(sink, start))
    ledger.settle(epoch, start)
    record = Record(epoch, start, plan, [])
    record.__enter__()
    return Run(plan, start, epoch, record, Summary(start.run_id, sink.uri))


def done(job: Job) -> Run:
    """A run that has done all that the source has."""
    run = begun(job)
    run.commit(range(len(run.plan.source.fragments)))
    ledger.close(run.epoch)
    run.end()
    return run
