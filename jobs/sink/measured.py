"""What the last run on a sink has measured of its steps, for the next one to go by."""

from __future__ import annotations

import json

from jobs.plan import Plan
from jobs.sink.ledger import RUNS, entry
from jobs.stores.store import Store


def cards(sink: Store, epoch: int, plan: Plan) -> dict[str, float]:
    """The greatest share of its card, 0..1, that an actor took in each step, in the run of an epoch.

    Steps are left out that the run didn't measure, or whose batches had another number of rows; all of them are, if it
    had another plan.

    Raises:
        SinkError: the sink can't be read.
    """
    start = entry(sink, epoch)
    data = sink.get(f"{RUNS}/{start.run_id}/run.json") if start else None
    record = json.loads(data) if data else {}
    if record.get("fingerprint") != plan.fingerprint:
        return {}
    batches = {step["step"]: step["batch_rows"] for placed in record["resources"] for step in placed["steps"]}
    figures = record["summary"].get("steps", {})
    return {
        step.name: float(figures[step.name]["card"])
        for step in plan.steps
        if "card" in figures.get(step.name, {}) and batches.get(step.name) == step.resources.batch_rows
    }
