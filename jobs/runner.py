"""Run a plan to the end, or as far as it gets: starting it again goes on from there."""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

import ray
from ray.exceptions import RayError
from rich.console import Console

from cluster.connection import connect
from cluster.placement import Placement
from cluster.sizing import sized
from jobs.openlineage.emitter import Emitter
from jobs.pipeline import dataset
from jobs.pipeline.stamp import Stamp
from jobs.plan import Plan
from jobs.progress import console_on, progress
from jobs.sink import ledger, seen, switch
from jobs.sink.holder import Holder, refuse_if_held
from jobs.sink.ledger import NEXT, Mode, Start
from jobs.sink.measured import cards
from jobs.sink.noticed import Noticed
from jobs.sink.record import Record
from jobs.stores.store import Store
from jobs.summary import Summary
from jobs.work import NewRows, Work
from operators import Spec
from operators.errors import CertificateError, ModelError, UserError
from operators.models.loading import commit


def run(
    plan: Plan,
    address: str | None = None,
    console: Console | None = None,
    mode: Mode = Mode.RUN,
    take_over: bool = False,
    beat_seconds: float = 5.0,
    work: Work | None = None,
    lineage_key: str | None = None,
) -> Summary:
    """Do what the plan says with every source row that has no outcome in the sink yet.

    Args:
        plan: the checked job.
        address: the Ray cluster; see :func:`cluster.connection.connect`.
        console: where progress is shown; without it, on standard error if that is a terminal.
        mode: what becomes of the rows that are there, if they are of another plan or are to be made anew.
        take_over: don't look whether another run on this sink lives; if it does, it ends.
        beat_seconds: how often the run's record is written.
        work: something else to do it with than such rows.
        lineage_key: bearer token for the server that the job's ``lineage`` names.

    Raises:
        UserError: a model can't be had, the cluster can't hold the steps, the sink refuses, and nothing was written; or
            source or sink fail meanwhile, and the next start goes on from there.
    """
    began, work, console = time.monotonic(), work or NewRows(), console or console_on(sys.stderr)
    sink = Store.at(plan.job.sink.uri)
    start = _start(plan, mode, beat_seconds)
    newest = ledger.check(sink, start)
    if not take_over:
        with console.status("looking whether the last run on this sink has ended"):
            refuse_if_held(sink, newest)
    with connect(address):
        placements = _placements(plan, cards(sink, newest, plan))
        revisions = _stage(plan)
        epoch = ledger.claim(sink, start, newest)
        summary = Summary(start.run_id, _destination(plan, mode))
        record = Record(epoch, start, plan, [placement.model_dump() for placement in placements], revisions)
        record.tell(summary)
        with record, Emitter(plan, start, epoch, summary, record, lineage_key):
            try:
                switch.finish(epoch)
                ledger.settle(epoch, start)
                if mode is not Mode.OVERWRITE:
                    plan.format.settle(epoch, plan.output, before=epoch.number)
                stamp = Stamp(plan.source.uri, start.run_id, plan.fingerprint, plan.job.seed)
                read, noticed = partial(work.parts, plan, stamp, epoch), Noticed()
                assembled = dataset.assembled(plan, placements, read, work.writer(plan, epoch))
                with _users_errors(), assembled as parts, progress(summary, plan.rows, console) as shown:
                    for report in dataset.reports(parts):
                        summary.add(report)
                        noticed.add(report)
                        record.tell(summary, report)
                        shown()
                with _users_errors():
                    summary.vanished.add(noticed.conclude(plan, epoch))
                ledger.close(epoch)
                summary.accepted = plan.job.allows(*work.rejected_of_all(summary, epoch))
                if mode is Mode.OVERWRITE and summary.accepted:
                    switch.switch(epoch)
                    summary.sink = plan.job.sink.uri
                    seen.forget(sink)
                if mode is not Mode.OVERWRITE or summary.accepted:
                    made = plan.format.settle(epoch, plan.output, before=epoch.number + 1)
                    summary.snapshot = made[-1].version if made else None
            finally:
                summary.seconds = round(time.monotonic() - began, 3)
                record.tell(summary)
    return summary


def _start(plan: Plan, mode: Mode, beat_seconds: float) -> Start:
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    columns = {field.name: str(field.type) for field in plan.output}
    return Start(run_id, plan.fingerprint, mode, plan.decisive, columns, Holder.here().as_json(), beat_seconds)


def _destination(plan: Plan, mode: Mode) -> str:
    """Where the user finds the rows of a run that is not complete."""
    uri = plan.job.sink.uri
    return f"{uri.rstrip('/')}/{NEXT}" if mode is Mode.OVERWRITE else uri


def _placements(plan: Plan, measured: Mapping[str, float]) -> list[Placement]:
    stages = [{step.name: step.resources for step in stage.steps} for stage in plan.stages]
    heavy = {step.name for step in plan.steps if step.spec.models()}
    return sized(stages, heavy, measured)


def _stage(plan: Plan) -> dict[str, str]:
    """Have every model, and see what else steps need, on a worker before anything is written: a lack costs nothing.

    Returns:
        The commits of those from the hub, by name.
    """
    steps = [(f"steps.{at}.{step.spec.kind}", step.spec) for at, step in enumerate(plan.steps)]
    specs = {where: spec for where, spec in steps if type(spec).stage is not Spec.stage}
    if specs:
        with _users_errors():
            found: dict[str, str] = ray.get(ray.remote(num_cpus=0)(_stage_here).remote(specs))
            return found
    return {}


def _stage_here(specs: dict[str, Spec]) -> dict[str, str]:
    for where, spec in specs.items():
        try:
            spec.stage()
        except (CertificateError, ModelError) as error:
            raise type(error)(error.message, where) from None
    found = {str(model): commit(model) for spec in specs.values() for model in spec.models()}
    return {model: revision for model, revision in found.items() if revision}


@contextlib.contextmanager
def _users_errors() -> Iterator[None]:
    """Let a user's error that a worker met come out as itself, without Ray's wrapping."""
    try:
        yield
    except RayError as error:
        cause: BaseException | None = error
        # Ray's wrapping of an error is an instance of that error's class as well.
        while cause is not None and (isinstance(cause, RayError) or not isinstance(cause, UserError)):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is None:
            raise
        raise type(cause)(cause.message, cause.where) from None
