"""Sinks as runs leave them, made without Ray: by the ledger, the record, the readers and writers that a run uses."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from jobs import Job
from jobs.pipeline.parts import unpack
from jobs.pipeline.stamp import Stamp
from jobs.plan import Plan
from jobs.retry import Again, Rejected, plan_again
from jobs.sink import batches, ledger, rejects
from jobs.sink.holder import Holder
from jobs.sink.ledger import Epoch, Mode, Start
from jobs.sink.record import Record
from jobs.sink.rejects import Chosen
from jobs.stores.store import Store
from jobs.summary import Summary
from jobs.work import NewRows
from tests.jobs.steps import Fragile

ROWS, PART_ROWS = 12, 3
HOUR = 3600.0


def job(
    sink: str,
    broken: Path,
    to: tuple[str, ...] = ("a", "b"),
    rows: int = ROWS,
    format: str = "parquet",  # noqa: A002
    filtered: bool = False,
    **options: object,
) -> Job:
    """A job over numbers, in parts of three rows; each becomes two rows, and some fail where ``broken`` says so."""
    broken.mkdir(exist_ok=True)
    steps = [Fragile(broken=str(broken), to=to)]
    given = {"source": pa.table({"n": range(rows)}), "steps": steps, **options}
    where = {"uri": sink, "part_rows": PART_ROWS, "format": format, "filtered": filtered}
    return Job(name="numbers", sink=where, **given)


@dataclass
class Run:
    """One start of a job, and what it does part by part."""

    plan: Plan
    start: Start
    epoch: Epoch
    record: Record
    summary: Summary

    @property
    def stamp(self) -> Stamp:
        """What its rows carry."""
        return Stamp(self.plan.source.uri, self.start.run_id, self.plan.fingerprint, self.plan.job.seed)

    def commit(self, parts: Iterable[int]) -> None:
        """Read parts by their numbers, take them through the steps and commit them."""
        for number in parts:
            (table,) = self.plan.source.fragments[number].read(PART_ROWS)
            self.put(self.stamp.rows(table), "")

    def commit_files(self) -> None:
        """Do all rows of a source of files."""
        for fragment in self.plan.source.fragments:
            for table in fragment.read(PART_ROWS):
                self.put(self.stamp.rows(table), fragment.file)

    def put(self, table: pa.Table, file: str) -> None:
        """Take rows in flight through the steps and commit them as a part."""
        writer = NewRows().writer(self.plan, self.epoch)
        table, noted = self._through(table)
        self._tell(writer.commit(table, ledger.file_key(file), noted))

    def retry(self, code: str | None = None, limit: int | None = None) -> None:
        """Try rejected rows again."""
        store, chosen = self.epoch.store, Chosen(code)
        again = Again(store, chosen, self.plan.source.schema, self.stamp)
        writer = Rejected(chosen, limit).writer(self.plan, self.epoch)
        for pick in chosen.first(store, rejects.standing(store, ledger.committed(store)), limit):
            for part in again.part(pick):
                table, notes = unpack(part)
                table, noted = self._through(table)
                self._tell(writer.commit(table, notes["file"], notes["noted"] | noted))

    def end(self, error: BaseException | None = None) -> None:
        """Sweep, if nothing went wrong, and write how it ended."""
        if error is None:
            ledger.close(self.epoch)
            self.plan.format.settle(self.epoch, self.plan.output, before=self.epoch.number + 1)
        self.record.__exit__(None if error is None else type(error), error, None)

    def _through(self, table: pa.Table) -> tuple[pa.Table, dict[str, str]]:
        noted: dict[str, str] = {}
        for step in self.plan.steps:
            operator = step.spec.load(step=step.name)
            table = operator(table)
            noted |= batches.noted(step.name, operator.batch_sizes)
            self.summary.weights |= operator.digests()
        return table, noted

    def _tell(self, report: dict[str, object]) -> None:
        began = float(self.summary.parts)
        self.summary.add(report | {"began": began, "ended": began + 2.0, "steps": {}})
        self.record.tell(self.summary)


def begun(
    job: Job,
    mode: Mode = Mode.RUN,
    holder: Holder | None = None,
    beat_seconds: float = HOUR,
    sink: Store | None = None,
) -> Run:
    """A run of a job that has claimed its sink and done nothing yet."""
    sink = sink or Store.at(job.sink.uri)
    plan = plan_again(job) if mode is Mode.RETRY else job.plan()
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
    run.end()
    return run


def retried(job: Job, code: str | None = None, limit: int | None = None, sink: Store | None = None) -> Summary:
    """A run that has tried rejected rows again, to its end."""
    run = begun(job, Mode.RETRY, sink=sink)
    run.retry(code, limit)
    run.end()
    return run.summary
