"""Run a plan to the end, or as far as it gets: starting it again goes on from there."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow.compute as pc
import ray
from ray.exceptions import RayError
from rich.console import Console

from cluster.connect import capacity, connect
from cluster.resources import Placement, place
from jobs import ledger, pipeline, record
from jobs.done import DoneRows
from jobs.plan import Plan
from jobs.report import Summary, progress
from jobs.storage import Store
from jobs.writer import Writer
from operators import Spec
from operators.columns import SOURCE_ID
from operators.errors import ModelError, UserError


def run(plan: Plan, address: str | None = None, console: Console | None = None) -> Summary:
    """Do what the plan says with every source row that has no outcome in the sink yet.

    Args:
        plan: the checked job.
        address: the Ray cluster; see :func:`cluster.connect.connect`.
        console: where progress is shown, if that is a terminal.

    Raises:
        UserError: a model can't be had, the cluster can't hold the steps, the sink refuses; nothing was written.
    """
    began = time.monotonic()
    store = Store.at(plan.job.sink.uri)
    ledger.check(store, plan.fingerprint)
    with connect(address):
        placements = _placements(plan)
        _stage(plan)
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        epoch = ledger.claim(store, run_id, plan.fingerprint)
        summary = Summary(run_id, plan.job.sink.uri)
        done = _recall(store, summary)
        entry = record.begin(epoch, plan, [placement.model_dump() for placement in placements])
        stamp = pipeline.Stamp(plan.source.uri, run_id, plan.fingerprint, plan.job.seed)
        parts = pipeline.dataset(plan, placements, stamp, Writer(epoch, plan.output), done)
        state = "failed"
        try:
            with progress(summary, plan.rows, console or Console(stderr=True)) as shown, _users_errors():
                for report in pipeline.reports(parts):
                    summary.add(report)
                    shown()
            ledger.close(epoch)
            state = "done"
        finally:
            summary.seconds = round(time.monotonic() - began, 3)
            record.finish(epoch, entry, summary, state)
    summary.accepted = plan.job.allows(*summary.rejected_of_all())
    return summary


def _placements(plan: Plan) -> list[Placement]:
    stages = [{step.name: step.resources for step in stage.steps} for stage in plan.stages]
    heavy = {step.name for step in plan.steps if step.spec.models()}
    return place(stages, heavy, capacity())


def _stage(plan: Plan) -> None:
    """Have every model on a worker before anything is written, so that one that can't be had costs nothing."""
    specs = {f"steps.{at}.{step.spec.kind}": step.spec for at, step in enumerate(plan.steps) if step.spec.models()}
    if specs:
        with _users_errors():
            ray.get(ray.remote(num_cpus=0)(_stage_here).remote(specs))


def _stage_here(specs: dict[str, Spec]) -> None:
    for where, spec in specs.items():
        try:
            spec.stage()
        except ModelError as error:
            raise ModelError(error.message, where) from None


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


def _recall(store: Store, summary: Summary) -> DoneRows:
    """The rows that earlier runs finished; their counts go into the summary."""

    def ids() -> Iterator[list[str]]:
        for table in ledger.outcomes(store, ledger.committed(store), [SOURCE_ID, "outcome", "outputs", "rejects"]):
            summary.rows_before += table.num_rows
            summary.rejected_before += pc.sum(table["rejects"]).as_py()
            summary.not_rejected_before += pc.sum(table["outputs"]).as_py()
            summary.not_rejected_before += pc.sum(pc.equal(table["outcome"], "filtered")).as_py()
            yield table[SOURCE_ID].to_pylist()

    return DoneRows.of(ids())
