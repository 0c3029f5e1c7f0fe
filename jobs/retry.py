"""Rejected rows tried again: their source row goes through all steps, as the rejects and not the source have it.

A part's rejects become one part of the run that tries them again. Of all rows that a source row becomes, only those
that had been rejected are taken: the others are in the dataset already. The new part's name tells which part's rejects
it stands for, so that these no longer count from the moment that it is committed; see :mod:`jobs.sink.attempts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

import pyarrow as pa
import ray
import ray.data
from ray.data import Dataset
from rich.console import Console

from cluster import pools
from jobs.pipeline.parts import pack
from jobs.pipeline.reader import FOLDER
from jobs.pipeline.stamp import Stamp
from jobs.pipeline.suspects import Suspects
from jobs.plan import Plan, plan_over
from jobs.runner import run
from jobs.sink import ledger, rejects
from jobs.sink.ledger import REJECTS, Epoch, Mode
from jobs.sink.rejects import Chosen
from jobs.sink.retrial import RETRIES, RetryWriter
from jobs.sink.tally import tally
from jobs.sources import Described
from jobs.sources.files import Folder
from jobs.sources.selection import fetched
from jobs.spec import Job
from jobs.stores.access import opened
from jobs.stores.store import Store
from jobs.summary import Summary
from operators import columns
from operators.errors import RowError, SinkError, UserError
from operators.near import meant

Pick = tuple[str, int | None]
"""A part with rejects, and how many of its source rows are tried again; None for all."""

_SHARES = 100


def plan_again(job: Job) -> Plan | None:
    """The job over the rejected rows of its sink, without a look at its source; None where there are none.

    Raises:
        UserError: the steps don't fit the columns of the rejected rows, or no job has written to the sink.
    """
    store = Store.at(job.sink.uri)
    if not store.names(ledger.EPOCHS):
        raise SinkError("no job has written here; run the job first", store.uri)
    names = rejects.standing(store, ledger.committed(store))
    if not names:
        return None
    first = rejects.read(store, names[0])
    schema = rejects.source_schema(first.schema, job.steps)
    return plan_over(job, Described(first[columns.SOURCE_URI][0].as_py(), schema, None, []))


def retry(
    job: Job,
    code: str | None = None,
    limit: int | None = None,
    address: str | None = None,
    console: Console | None = None,
    take_over: bool = False,
    lineage_key: str | None = None,
) -> Summary:
    """Try rejected rows again, and count the attempt.

    Args:
        job: the job that rejected them.
        code: only source rows of which a row was rejected with this code.
        limit: at most so many source rows.
        address: as for :func:`jobs.runner.run`.
        console: likewise.
        take_over: likewise.
        lineage_key: likewise.

    Raises:
        UserError: as for :func:`jobs.runner.run`; or there is no such code, or the job's plan is another one.
    """
    _refuse_unknown(code)
    plan = plan_again(job)
    if plan is None:
        return Summary("", job.sink.uri)
    return run(
        plan, address, console, Mode.RETRY, take_over, work=Rejected(Chosen(code), limit), lineage_key=lineage_key
    )


@dataclass(frozen=True)
class Rejected:
    """The work of a run that tries rejected rows again."""

    chosen: Chosen
    limit: int | None

    def parts(self, plan: Plan, stamp: Stamp, epoch: Epoch, watch: Suspects) -> Dataset:
        """One part for every part that has such rows."""
        store = epoch.store
        names = rejects.standing(store, ledger.committed(store))
        picks = list(self.chosen.first(store, names, self.limit))
        size = max(1, ceil(len(picks) / _SHARES))
        shares = [ray.put(picks[first : first + size]) for first in range(0, len(picks), size)] or [ray.put([])]
        numbers = ray.data.from_items([{"task": at} for at in range(len(shares))], override_num_blocks=len(shares))
        again = Again(store, self.chosen, plan.source.schema, stamp)
        arguments = again, shares, watch
        return numbers.map_batches(_Reader, fn_constructor_args=arguments, batch_size=1, **pools.io_options())

    def writer(self, plan: Plan, epoch: Epoch) -> RetryWriter:
        """Takes of a source row's rows those that had been rejected."""
        return RetryWriter(epoch, plan.output, plan.format, plan.rejected, plan.job.sink.filtered)

    def rejected_of_all(self, summary: Summary, epoch: Epoch) -> tuple[int, int]:  # noqa: ARG002
        """Counted in the sink: this run has seen the rejected rows alone."""
        told = tally(epoch.store, ledger.committed(epoch.store))
        return told.rejected.total(), told.rejected.total() + told.not_rejected


@dataclass(frozen=True)
class Again:
    """Makes parts of rejected rows."""

    store: Store
    chosen: Chosen
    schema: pa.Schema
    """The source's columns."""
    stamp: Stamp

    def part(self, pick: Pick) -> Iterator[pa.Table]:
        """The part of those that are chosen, with their input as it was; none where there are no such rows.

        Raises:
            SinkError: the rejects can't be read.
            SourceError: a picture was missing, and the store that its path leads to fails.
        """
        name, most = pick
        rejected = rejects.read(self.store, name)
        ids = self.chosen.ids(rejected)[:most]
        if not ids:
            return
        places = rejected[columns.SOURCE_ID].to_pylist()
        taken = rejected.take([places.index(source_id) for source_id in ids])
        folder = (rejected.schema.metadata or {}).get(FOLDER.encode(), b"").decode()
        arrays = [taken[columns.SOURCE_ID], *(_input(taken[field.name], folder) for field in self.schema)]
        rows = pa.table(arrays, pa.schema([(columns.SOURCE_ID, pa.string()), *self.schema]))
        stamp = replace(self.stamp, source_uri=taken[columns.SOURCE_URI][0].as_py())
        noted = {RETRIES: name} | ({FOLDER: folder} if folder else {})
        yield pack(stamp.rows(rows), {"file": ledger.file_of(name), "noted": noted, "began": None, "steps": {}})


class _Reader:
    """An actor that reads shares of rejects."""

    def __init__(self, again: Again, shares: list[ray.ObjectRef[list[Pick]]], suspects: Suspects) -> None:
        self.again = again
        self.shares = shares
        self.suspects = suspects

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for number in batch["task"].to_pylist():
            for pick in ray.get(self.shares[number]):
                rejected = f"{REJECTS}/{pick[0]}"
                self.suspects.whole(rejected, "reading", rejected)
                yield from self.again.part(pick)
                self.suspects.end(rejected)


def _input(column: pa.ChunkedArray, folder: str) -> pa.ChunkedArray:
    """A column as it was read; a picture that was not there is looked for again."""
    if not folder or not columns.is_image(column.type):
        return column
    return fetched(column, Folder(*opened(folder)))


def _refuse_unknown(code: str | None) -> None:
    codes = [kind.code for kind in _below(RowError)]
    if code is not None and code not in codes:
        raise UserError(f"no row is rejected with the code {code!r}{meant(code, codes)}")


def _below(kind: type[RowError]) -> list[type[RowError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _below(child))]
