"""What a run measured of its steps is what the next one goes by."""

from __future__ import annotations

import json

from jobs import Job
from jobs.sink.ledger import RUNS
from jobs.sink.measured import cards
from jobs.stores.store import Store
from operators import Caption, Generate
from operators.models.memory import card_share


def job(**changes):
    steps = [Caption(), Generate(prompt="a")]
    return Job(**{"source": "builtin:shapes?rows=4", "steps": steps, "sink": "out"} | changes)


def recorded(tmp_path, of, **figures):
    """A sink whose first run, of this job, left these figures of its steps."""
    sink = Store.at(str(tmp_path))
    plan = of.plan()
    placed = [{"steps": [{"step": step.name, "batch_rows": step.resources.batch_rows}]} for step in plan.steps]
    entry = {"run_id": "first", "fingerprint": plan.fingerprint, "mode": "run", "plan": {}, "columns": {}, "holder": {}}
    sink.put("_latentmill/epochs/000001.json", json.dumps(entry | {"beat_seconds": 5.0}).encode())
    record = {"fingerprint": plan.fingerprint, "resources": placed, "summary": {"steps": figures}}
    sink.put(f"{RUNS}/first/run.json", json.dumps(record).encode())
    return sink


def test_shares_of_cards_come_from_the_last_run(tmp_path):
    sink = recorded(tmp_path, job(), caption={"card": 0.1}, generate={"rows": 3})
    assert cards(sink, 1, job().plan()) == {"caption": 0.1}
    assert cards(sink, 0, job().plan()) == {}


def test_what_was_measured_of_another_plan_or_batch_tells_nothing(tmp_path):
    sink = recorded(tmp_path, job(), caption={"card": 0.1}, generate={"card": 0.4})
    assert cards(sink, 1, job(seed=1).plan()) == {}
    assert cards(sink, 1, job(resources={"caption": {"batch_rows": 64}}).plan()) == {"generate": 0.4}


def test_without_a_card_there_is_no_share():
    assert card_share() is None
