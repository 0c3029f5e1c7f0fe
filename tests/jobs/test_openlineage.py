"""What a run tells of itself as OpenLineage events, to its journal and to a real server, whatever that one does."""

from __future__ import annotations

import io
import json
import socket
import time
import uuid

import jsonschema
import pyarrow as pa
import pytest
from rich.console import Console

from jobs import Job, RowOptions, TableSource
from jobs.cli import main
from jobs.formats import FORMATS
from jobs.openlineage.emitter import Emitter
from jobs.openlineage.events import run_uuid
from jobs.openlineage.journal import Journal
from jobs.openlineage.lineage import column_lineage
from jobs.openlineage.naming import DatasetName
from jobs.sink import ledger
from jobs.sink.ledger import Mode, Start
from jobs.sink.record import Record
from jobs.stores.store import Store
from jobs.summary import Summary
from operators import columns
from operators.base import Kind
from operators.errors import ModelError
from tests.jobs.steps import Planned
from tests.openlineage_events import PUBLISHED, check, check_published, receiver

KEY = "-".join(["open", "sesame"])
STEPS = [{"caption": {}}, {"invert": {}}, {"edit": {"method": "pix2pix_zero", "from": "circle", "to": ["star"]}}]


COUNTED = {
    "rows_in": 4,
    "rows_out": 3,
    "filtered": 1,
    "rejected": {"not_finite": 1},
    "files": 1,
    "bytes": 77,
    "began": 1.0,
    "ended": 2.0,
    "steps": {"caption": {"rows": 4, "seconds": 1.0, "weights": {"builtin:blip": "ab" * 32}}},
}
"""What is told of a part that was committed."""


def job(sink, url=None, seconds=60.0, **changes):
    lineage = {"openlineage": url, "namespace": "mill", "running_seconds": seconds}
    plain = {"name": "shapes", "source": "builtin:shapes?rows=4", "steps": STEPS, "sink": str(sink)}
    return Job(**plain | {"lineage": lineage} | changes)


def emitter(job, run_id, key=None, mode=Mode.RUN):
    """What tells of a run, the counts that it tells, and its record; no row is made."""
    plan, sink = job.plan(), Store.at(job.sink.uri)
    start = Start(run_id, plan.fingerprint, mode)
    epoch = ledger.claim(sink, start, ledger.newest(sink.names(ledger.EPOCHS)))
    summary = Summary(run_id, sink.uri)
    record = Record(epoch, start, plan, [])
    record.tell(summary)
    return Emitter(plan, start, epoch, summary, record, key), summary, record


def journal(job, run_id):
    """The events of a run, as they lie in its record."""
    found = Journal(Store.at(job.sink.uri), run_id)
    return [found.read(number) for number in found.numbers()]


def states(job, run_id):
    return [event["eventType"] for event in journal(job, run_id)]


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def killed(job, run_id):
    """A run that begins and of which nothing more is heard."""
    dead, _, _ = emitter(job, run_id)
    dead.__enter__()
    dead._ended.set()
    dead._thread.join()


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """All kinds of events: of a run that is killed, one that goes on and ends well, and one that makes all anew."""
    given = job(tmp_path_factory.mktemp("sink"), seconds=0.05)
    killed(given, "killed")
    well, summary, record = emitter(given, "well")
    with well:
        summary.add(COUNTED)
        record.tell(summary)
        until(lambda: "RUNNING" in states(given, "well"))
    anew, summary, _ = emitter(given, "anew", mode=Mode.OVERWRITE)
    summary.snapshot = 3
    with pytest.raises(ModelError), anew:
        raise ModelError("weights at https://me:secret@host/x are gone", "steps.0")
    return given, {run: journal(given, run) for run in ("killed", "well", "anew")}


@pytest.fixture
def a_port():
    """One on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_every_event_and_facet_is_as_the_specification_wants_it(told):
    _, runs = told
    events = [event for run in runs.values() for event in run]
    assert {event["eventType"] for event in events} == {"START", "RUNNING", "COMPLETE", "FAIL", "ABORT"}
    for event in events:
        check(event)


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"OpenLineage's JSON Schema is not in {PUBLISHED}")
def test_every_event_is_as_the_published_schema_wants_it(told):
    for event in [event for run in told[1].values() for event in run]:
        check_published(event)


def test_what_is_checked_can_fail(told):
    event = json.loads(json.dumps(told[1]["well"][-1]))
    faults = {
        "run": {"runId": "not a uuid", "facets": {}},
        "eventType": "DONE",
        "eventTime": "yesterday",
        "producer": "no uri",
        "job": {"namespace": "mill", "facets": {}},
    }
    for key, value in faults.items():
        with pytest.raises(jsonschema.ValidationError):
            check(event | {key: value})
    for path in (("columnLineage", "fields", "caption"), ("schema", "fields", 0)):
        facets = json.loads(json.dumps(event["outputs"][0]["facets"]))
        place = facets
        for key in path:
            place = place[key]
        place.clear()
        with pytest.raises(jsonschema.ValidationError):
            check(event | {"outputs": [event["outputs"][0] | {"facets": facets}]})


def test_a_run_tells_as_it_begins_goes_on_and_ends(told):
    given, runs = told
    kinds = [event["eventType"] for event in runs["well"]]
    assert kinds[0], kinds[-1] == ("START", "COMPLETE")
    assert set(kinds[1:-1]) == {"RUNNING"}
    times = [event["eventTime"] for event in runs["well"]]
    assert times == sorted(times)
    for event in runs["well"]:
        assert event["run"]["runId"] == run_uuid("well") == str(uuid.UUID(run_uuid("well")))
        assert (event["job"]["namespace"], event["job"]["name"]) == ("mill", "shapes")
        assert [(one["namespace"], one["name"]) for one in event["outputs"]] == [("file", given.sink.uri)]
        assert [(one["namespace"], one["name"]) for one in event["inputs"]] == [("builtin", "shapes?rows=4&seed=0")]
    end = runs["well"][-1]
    assert end["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 4
    figures = end["outputs"][0]["outputFacets"]
    assert [figures["outputStatistics"][key] for key in ("rowCount", "size", "fileCount")] == [3, 77, 1]
    assert figures["latentmill_outcomes"]["filtered"] == 1
    assert figures["latentmill_outcomes"]["rejected"] == {"not_finite": 1}
    models = end["run"]["facets"]["latentmill_models"]["models"]
    assert {"step": "caption", "name": "builtin:blip", "digest": "ab" * 32} in models
    assert {"step": "edit", "name": "builtin:stable-diffusion"} in models
    assert end["run"]["facets"]["latentmill_run"]["runId"] == "well"


def test_a_run_that_failed_tells_its_code_and_no_secret(told):
    start, *_, end = told[1]["anew"]
    assert (start["eventType"], end["eventType"]) == ("START", "FAIL")
    why = end["run"]["facets"]["errorMessage"]
    assert why["code"] == "bad_model"
    assert why["message"] == "bad_model: steps.0: weights at https://...@host/x are gone"
    about = end["outputs"][0]["facets"]
    assert about["lifecycleStateChange"]["lifecycleStateChange"] == "OVERWRITE"
    assert about["version"]["datasetVersion"] == "3"


def test_a_killed_run_is_ended_by_the_next_one_which_tells_that_it_goes_on_from_it(told):
    runs = told[1]
    assert [event["eventType"] for event in runs["killed"]] == ["START", "ABORT"]
    abort, start = runs["killed"][-1], runs["well"][0]
    assert abort["run"]["facets"]["errorMessage"]["code"] == "killed"
    assert abort["eventTime"] <= start["eventTime"]
    (upstream,) = start["run"]["facets"]["jobDependencies"]["upstream"]
    assert upstream["run"]["runId"] == abort["run"]["runId"] == run_uuid("killed")
    assert "jobDependencies" not in runs["killed"][0]["run"]["facets"]


def test_a_stopped_run_aborts_and_too_many_rejects_fail(tmp_path):
    given = job(tmp_path)
    stopped, _, _ = emitter(given, "stopped")
    with pytest.raises(KeyboardInterrupt), stopped:
        raise KeyboardInterrupt
    assert states(given, "stopped") == ["START", "ABORT"]
    rejecting, summary, _ = emitter(given, "rejecting")
    with rejecting:
        summary.accepted = False
    assert journal(given, "rejecting")[-1]["run"]["facets"]["errorMessage"]["code"] == "too_many_rejects"


def test_a_run_whose_place_was_taken_says_no_more(tmp_path):
    given = job(tmp_path)
    slow, _, _ = emitter(given, "slow")
    with slow:
        killed(given, "quick")
    assert states(given, "slow") == ["START", "ABORT"]


def test_columns_are_followed_through_all_steps():
    pictures = pa.array([{"bytes": b"", "path": None}], columns.IMAGE)
    table = pa.table({"sku": ["a"], "words": ["b"], "drawn": pictures})
    steps = [{"caption": {}}, {"generate": {"prompt": {"column": "caption"}, "output": "made"}}]
    options = RowOptions(columns={"text": "words", "image": "drawn"}, id="sku")
    given = Job(source=TableSource(table, options), steps=steps, sink="out")
    found = column_lineage(given.plan())
    assert found.columns["text"] == {"words": ()}
    assert found.columns["caption"] == {"drawn": ("caption",)}
    assert found.columns["made"] == {"drawn": ("caption", "generate")}
    assert found.columns["content_hash"].keys() == {"words", "drawn"}
    assert found.columns["row_id"].keys() == {"sku"}
    assert "run_id" not in found.columns
    assert found.rows == {}


class Deciding(Planned):
    """Leaves rows out by what another step has written."""

    def reads(self):
        return {"caption": Kind.TEXT}


def test_what_a_step_reads_that_writes_nothing_decides_about_rows(tmp_path):
    given = job(tmp_path, steps=[{"caption": {}}, Deciding()])
    assert column_lineage(given.plan()).rows == {"image": ("caption", "planned")}
    told, _, _ = emitter(given, "run")
    with told:
        pass
    for event in journal(given, "run"):
        check(event)
        (one,) = event["outputs"][0]["facets"]["columnLineage"]["dataset"]
        assert (one["field"], one["transformations"][0]["subtype"]) == ("image", "FILTER")


@pytest.mark.parametrize(
    ("uri", "namespace", "name", "quoted"),
    [
        ("s3://bucket/a/b/", "s3://bucket", "a/b", "s3://bucket/a/b"),
        ("s3a://bucket", "s3://bucket", "/", "s3://bucket/"),
        ("gcs://bucket/a b", "gs://bucket", "a b", "gs://bucket/a%20b"),
        ("/data/out/", "file", "/data/out", "file:///data/out"),
        ("file:///data/my out", "file", "/data/my out", "file:///data/my%20out"),
        ("simplecache::s3://bucket/x.tar", "s3://bucket", "x.tar", "s3://bucket/x.tar"),
        ("https://host:8/a/x.parquet?v=2", "https://host:8", "a/x.parquet", "https://host:8/a/x.parquet"),
        ("builtin:shapes?rows=2&seed=0", "builtin", "shapes?rows=2&seed=0", "builtin:shapes?rows=2&seed=0"),
        ("table", "inmemory://", "table", "inmemory:///table"),
    ],
)
def test_datasets_are_named_by_the_conventions(uri, namespace, name, quoted):
    found = DatasetName.of(uri)
    assert (found.namespace, found.name, found.uri) == (namespace, name, quoted)


def test_what_one_job_writes_and_the_next_one_reads_has_one_name(tmp_path):
    written = Store.at(f"{tmp_path}/out/").uri
    epoch = ledger.Epoch(Store(written), 1, "run", "", Store(written))
    made = job(tmp_path, steps=[]).plan().output
    FORMATS["parquet"].write(epoch, "part-000001-00000000-aa", made.empty_table())
    reads = Job(source=f"{tmp_path}/out", steps=[], sink="elsewhere").plan()
    assert DatasetName.of(reads.source.uri) == DatasetName.of(written)


def test_lineage_is_no_part_of_the_plan(tmp_path):
    assert job(tmp_path, "http://one").plan().fingerprint == job(tmp_path, "http://two").plan().fingerprint


@pytest.mark.parametrize("url", ["ftp://host", "http://", "host:5000", f"http://me:{KEY}@host"])
def test_a_server_that_can_not_be_is_refused_in_one_line(url, tmp_path, capsys):
    (tmp_path / "job.yaml").write_text(
        f"source: builtin:shapes\nsteps: []\nsink: out\nlineage: {{openlineage: '{url}'}}"
    )
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(tmp_path / "job.yaml")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "job.yaml:4: lineage.openlineage: " in said
    assert KEY not in said


def test_events_reach_a_server_in_order_and_none_is_lost_while_it_fails(tmp_path):
    with receiver() as server:
        server.answers = [500, 401, 429]
        given = job(tmp_path, f"{server.url}/", seconds=0.05)
        killed(given, "killed")
        well, summary, record = emitter(given, "well", KEY)
        with well:
            record.tell(summary)
            until(lambda: server.events and server.events[-1]["eventType"] == "RUNNING")
        first, second = run_uuid("killed"), run_uuid("well")
        kept = [state for number, state in enumerate(server.states) if state not in server.states[:number]]
        wanted = [(first, "START"), (first, "ABORT"), (second, "START"), (second, "RUNNING"), (second, "COMPLETE")]
        assert kept == wanted
        assert {path for path, _ in server.requests} == {"/api/v1/lineage"}
        assert (summary.events_unsent, summary.events_trouble) == (0, "")
        sent = [event for event in server.events if event["run"]["runId"] == second]
        assert [event for event in journal(given, "well") if event in sent] == sent
    assert KEY not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_a_key_is_sent_and_kept_secret(tmp_path):
    with receiver() as server:
        server.answers = [401] * 9
        given = job(tmp_path, server.url)
        refused, summary, record = emitter(given, "refused", KEY)
        with refused:
            until(lambda: server.requests)
        assert {authorization for _, authorization in server.requests} == {f"Bearer {KEY}"}
    assert summary.events_trouble == "it answers 401 Unauthorized"
    assert record.summary["events_unsent"] == 2
    bad, summary, _ = emitter(given, "bad", f"{KEY}\r\nX: 1")
    with bad:
        pass
    assert summary.events_unsent
    assert KEY not in json.dumps(summary.as_json())
    assert KEY not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_an_event_that_is_refused_does_not_hold_up_the_others(tmp_path):
    with receiver() as server:
        server.answers = [422]
        given = job(tmp_path, server.url)
        told, summary, _ = emitter(given, "run")
        with told:
            pass
        assert [state for _, state in server.states] == ["COMPLETE"]
    assert (summary.events_unsent, summary.events_trouble) == (1, "it answers 422 Unprocessable Entity")


def test_a_server_that_is_away_costs_nothing_and_the_next_run_sends_what_it_lacks(tmp_path, a_port):
    given = job(tmp_path, f"http://127.0.0.1:{a_port}")
    away, summary, record = emitter(given, "away")
    began = time.monotonic()
    with away:
        pass
    assert time.monotonic() - began < 3
    assert summary.events_unsent == 2
    assert record.summary["events_trouble"] == "no connection"
    assert states(given, "away") == ["START", "COMPLETE"]
    out = io.StringIO()
    summary.show(Console(file=out, width=80))
    assert "OpenLineage  2 events not sent  (no connection)" in out.getvalue()
    with receiver(a_port) as server:
        there, summary, _ = emitter(given, "there")
        with there:
            pass
        wanted = [(run_uuid(run), state) for run in ("away", "there") for state in ("START", "COMPLETE")]
        assert server.states == wanted
        assert summary.events_unsent == 0
        again, _, _ = emitter(given, "again")
        with again:
            pass
        assert server.states[len(wanted) :] == [(run_uuid("again"), state) for state in ("START", "COMPLETE")]


def test_a_server_that_never_answers_holds_up_only_the_end_and_that_shortly(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.openlineage.emitter._AT_THE_END", 0.3)
    with receiver() as server:
        server.released.clear()
        given = job(tmp_path, server.url, seconds=0.02)
        hanging, summary, _ = emitter(given, "hanging")
        began = time.monotonic()
        with hanging:
            assert time.monotonic() - began < 2
            until(lambda: len(states(given, "hanging")) > 4)
            ended = time.monotonic()
        assert time.monotonic() - ended < 2
    assert summary.events_unsent == 3
    assert summary.events_trouble == "no answer in 0 s"
    assert states(given, "hanging")[-1] == "COMPLETE"
