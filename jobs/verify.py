"""Whether a sink holds what its outcomes say: every object read to the last byte, every row there once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from jobs.formats import SinkFormat
from jobs.plan import Plan
from jobs.sink.ledger import RUNS
from jobs.status import State, look, runs
from jobs.stores.store import Store
from jobs.verifying import models, part, whole
from jobs.verifying.listing import Listing
from jobs.verifying.part import Seen
from jobs.verifying.verdict import Code, Fault, Verdict

_THREADS = 8


def verify(sink: Store, plan: Plan | None = None, weights: bool = False) -> Verdict:
    """Read a whole sink and hold it against its own outcomes; what a job that runs has not committed yet is left out.

    Args:
        sink: where a job wrote.
        plan: the job that its rows should be of; it also knows how many source rows there are.
        weights: compare the models as they are now, too; those that are not on this machine are fetched.

    Raises:
        SinkError: no job has written here, or the store fails.
    """
    status = look(sink)
    records = runs(sink)
    listing = Listing.of(sink, _format(records), status)
    with ThreadPoolExecutor(_THREADS) as pool:
        seen = list(pool.map(partial(part.inspect, sink, listing.rows), listing.parts))
        seen += pool.map(partial(part.inspect_mixed, listing.rows), listing.rows.mixed)
    rows, lines = partial(part.row_ids, listing.rows), partial(part.source_ids, sink)
    verdict = Verdict(sink.uri, _looked_at(listing, seen))
    verdict.add(listing.orphans())
    verdict.add(fault for one in seen for fault in one.faults)
    verdict.add(whole.rows_of_any_part(seen, lines, listing) if listing.rows.mixed else ())
    verdict.add(whole.doubled_rows(seen, rows, listing))
    verdict.add(whole.doubled_outcomes(seen, lines, listing.remedy))
    verdict.add(whole.wrong_rejects(seen, lines, listing.remedy))
    verdict.add(whole.other_columns(seen, listing))
    _check_runs(verdict, records, seen, weights)
    if plan is not None:
        verdict.looked_at |= {Code.PLAN_DIFFERS: len(_plans(seen)), Code.ROWS_WITHOUT_OUTCOME: plan.rows or 0}
        verdict.add(_against_plan(seen, plan))
    if status.state is State.RUNNING:
        verdict.notes.append(f"run {status.run_id} goes on; what it has not committed yet is left out")
    return verdict


def _format(records: Sequence[dict[str, Any]]) -> SinkFormat:
    """What the newest run wrote."""
    sinks = [record["job"]["sink"] for record in records]
    return SinkFormat(sinks[-1].get("format", SinkFormat.PARQUET)) if sinks else SinkFormat.PARQUET


def _looked_at(listing: Listing, seen: Sequence[Seen]) -> dict[Code, int]:
    rows = sum(len(one.rows) for one in seen)
    return {
        Code.UNREADABLE: sum(one.objects for one in seen),
        Code.DATA_MISSING: len(listing.counted),
        Code.ORPHAN: listing.objects,
        Code.COLUMNS_DIFFER: sum(one.schema is not None for one in seen),
        Code.LINEAGE_INCOMPLETE: rows,
        Code.ROW_DOUBLED: rows,
        Code.OUTCOME_DOUBLED: sum(len(one.sources) for one in seen),
        Code.OUTPUTS_DISAGREE: rows,
        Code.REJECTS_DISAGREE: sum(len(one.rejected) for one in seen),
        Code.FILTERED_DISAGREE: sum(one.filtered is not None for one in seen),
        Code.CONTENT_DIFFERS: rows,
    }


def _check_runs(verdict: Verdict, all_records: Sequence[dict[str, Any]], seen: Sequence[Seen], weights: bool) -> None:
    """Only the runs that the sink has rows of matter: what was overwritten may be of other weights."""
    used = set[str]().union(*(one.runs for one in seen))
    records = [record for record in all_records if record["run_id"] in used]
    recorded = models.recorded(records)
    verdict.looked_at |= {Code.RUN_UNKNOWN: len(used), Code.WEIGHTS_DIFFER: len(recorded)}
    for run in sorted(used - {record["run_id"] for record in records}):
        what = f"rows are of run {run}, but there is no record of it"
        remedy = "bring the record back from where it was copied or removed; without it the rows' origin can't be told"
        verdict.add([Fault.about(Code.RUN_UNKNOWN, what, f"{RUNS}/{run}/run.json", remedy)])
    verdict.add(models.changed_between_runs(recorded))
    if weights:
        faults, left_out = models.changed_since(recorded, records)
        verdict.add(faults)
        verdict.notes += left_out


def _plans(seen: Sequence[Seen]) -> set[str]:
    return set[str]().union(*(one.plans for one in seen))


def _against_plan(seen: Sequence[Seen], plan: Plan) -> Iterator[Fault]:
    for other in sorted(_plans(seen) - {plan.fingerprint}):
        what = f"some rows are of plan {other[:12]}, and the job is plan {plan.fingerprint[:12]}"
        remedy = "expected where the sink was extended; else `latentmill run JOB.yaml --overwrite` makes all rows anew"
        yield Fault.about(Code.PLAN_DIFFERS, what, plan.job.sink.uri, remedy)
    done = sum(int((one.attempts == 1).sum()) for one in seen)
    if plan.rows is not None and done < plan.rows:
        what = f"{plan.rows - done:,} of {plan.rows:,} source rows have no outcome"
        remedy = "`latentmill run JOB.yaml` does them"
        yield Fault.about(Code.ROWS_WITHOUT_OUTCOME, what, plan.job.sink.uri, remedy)
