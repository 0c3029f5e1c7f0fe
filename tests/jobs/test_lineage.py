"""From a row back to its source: through retries, other plans, and jobs that read each other's sinks."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pytest

from jobs import Job
from jobs.formats import SinkFormat
from jobs.lineage.asked import State
from jobs.lineage.show import shown
from jobs.lineage.steps import chain, names
from jobs.lineage.tree import lineage
from jobs.pipeline.stamp import contents
from jobs.sink.ledger import Mode
from jobs.sink.rows import SinkRows
from jobs.stores.store import Store
from operators import columns
from operators.errors import UserError
from operators.images import encode_all
from operators.models.builtin.scenes import draw, scene
from tests.jobs import sinks
from tests.jobs.steps import Fragile
from tests.jobs.test_cli import latentmill

PICTURES = encode_all(draw([scene(number, 1) for number in range(sinks.ROWS)]))


@pytest.fixture
def broken(tmp_path):
    (tmp_path / "broken").mkdir()
    return tmp_path / "broken"


def first(tmp_path, broken, **options):
    """A run over numbers whose rows become two."""
    return sinks.done(sinks.job(str(tmp_path / "first"), broken, seed=3, **options))


def second(tmp_path, broken, source, sink="second", **options):
    """A run over what the first has written, or another sink."""
    step = Fragile(broken=str(broken), output=f"again_in_{sink}", to=("x", "y"))
    job = Job(name=sink, source=source, steps=[step], sink={"uri": str(tmp_path / sink), "part_rows": 3}, **options)
    run = sinks.begun(job)
    run.commit_files()
    run.end()
    return run


def trees(tmp_path, sink, asked):
    return lineage(Store.at(str(tmp_path / sink)), asked)


def test_a_row_is_told_with_its_run_steps_seeds_and_source(tmp_path, broken):
    run = first(tmp_path, broken)
    (tree,) = trees(tmp_path, "first", "table#7/fragile.b")
    (step,) = tree.steps
    assert (tree.state, tree.values["n"], tree.run["run_id"]) == (State.ACCEPTED, 7, run.start.run_id)
    assert tree.run["packages"]["pyarrow"] == pa.__version__
    assert tree.run["ended"] > tree.run["started"]
    assert step.parameters == {"broken": str(broken), "to": ["a", "b"], "output": "drawn"}
    assert (step.seed % 1000, step.batch) == (tree.values["drawn"], 6)
    source = next(run.plan.source.fragments[2].read(3))
    assert tree.source.source_id == "table#7"
    assert tree.source.content_hash == contents(source)[1].as_py()
    assert (tmp_path / "first" / tree.part).is_file()
    assert tree.outcome == {"outcome": "ok", "outputs": 2, "rejects": 0, "attempts": 1}


def test_a_source_row_is_all_that_it_became(tmp_path, broken):
    (broken / "table#1+fragile.b").write_text("not_finite")
    first(tmp_path, broken)
    accepted, rejected = trees(tmp_path, "first", "table#1")
    assert [accepted.row_id, accepted.state] == ["table#1/fragile.a", State.ACCEPTED]
    assert [rejected.row_id, rejected.state] == ["table#1/fragile.b", State.REJECTED]
    assert rejected.error == {"step": "fragile", "code": "not_finite", "message": "as asked", "attempt": 1}
    assert rejected.part.startswith("rejects/part-")
    assert trees(tmp_path, "first", "table#1/fragile.b") == [rejected]


def test_a_row_that_a_step_left_out_is_told(tmp_path, broken):
    run = sinks.begun(sinks.job(str(tmp_path / "first"), broken))
    (table,) = run.plan.source.fragments[0].read(3)
    stamped = run.stamp.rows(table)
    at = stamped.schema.get_field_index(columns.KEPT)
    run.put(stamped.set_column(at, columns.KEPT, pa.array([True, False, True])), "")
    run.end()
    (tree,) = trees(tmp_path, "first", "table#1")
    assert (tree.state, tree.outcome["outcome"], tree.run["run_id"]) == (State.FILTERED, "filtered", run.start.run_id)
    assert "left it out" in shown([tree])


def test_rows_of_a_retry_and_of_another_plan_go_to_their_own_runs(tmp_path, broken):
    (broken / "table#1+fragile.b").write_text("not_finite")
    run = first(tmp_path, broken, rows=6)
    (broken / "table#1+fragile.b").unlink()
    sinks.retried(run.plan.job)
    extended = sinks.begun(sinks.job(str(tmp_path / "first"), broken, seed=4, rows=9), Mode.EXTEND)
    extended.commit([2])
    extended.end()
    found = {tree.row_id: tree for asked in ("table#1", "table#8") for tree in trees(tmp_path, "first", asked)}
    modes = {row_id: tree.run["mode"] for row_id, tree in found.items()}
    assert modes == {
        "table#1/fragile.a": "run",
        "table#1/fragile.b": "retry",
        "table#8/fragile.a": "extend",
        "table#8/fragile.b": "extend",
    }
    assert found["table#1/fragile.b"].outcome == {"outcome": "ok", "outputs": 2, "rejects": 0, "attempts": 2}
    assert all(tree.steps[0].seed % 1000 == tree.values["drawn"] for tree in found.values())


@pytest.mark.parametrize("format_", SinkFormat)
def test_the_tree_goes_on_through_the_sink_of_another_job(tmp_path, broken, format_):
    source = pa.table({"n": range(sinks.ROWS), "image": PICTURES})
    first(tmp_path, broken, source=source, format=format_)
    second(tmp_path, broken, str(tmp_path / "first"))
    rows = [row for batch in SinkRows.of(Store.at(str(tmp_path / "second"))).batches() for row in batch.to_pylist()]
    assert len(rows) == 48
    for row in (rows[0], rows[31]):
        (tree,) = trees(tmp_path, "second", row["row_id"])
        above = tree.source.row
        assert (above.values["n"], above.values["drawn"]) == (row["n"], row["drawn"])
        assert above.source.source_id == f"table#{row['n']}"
        assert (above.run["job"], above.source.row, above.source.note) == ("numbers", None, None)


def test_a_source_inside_of_a_sink_and_ids_of_ones_own_lead_there_too(tmp_path, broken):
    first(tmp_path, broken)
    second(tmp_path, broken, str(tmp_path / "first" / "data" / "*.parquet"))
    second(tmp_path, broken, {"uri": str(tmp_path / "first"), "id": "row_id"}, "named")
    for sink in ("second", "named"):
        row = next(SinkRows.of(Store.at(str(tmp_path / sink))).batches()).to_pylist()[0]
        (tree,) = trees(tmp_path, sink, row["row_id"])
        assert tree.source.row.values["drawn"] == row["drawn"]


def test_a_sink_that_is_gone_or_made_anew_is_a_line_in_the_tree(tmp_path, broken):
    run = first(tmp_path, broken)
    second(tmp_path, broken, str(tmp_path / "first"))
    row_id = next(SinkRows.of(Store.at(str(tmp_path / "second"))).batches())["row_id"][0].as_py()
    for path in (tmp_path / "first" / "_latentmill" / "outcomes").iterdir():
        path.unlink()
    assert "no longer there" in trees(tmp_path, "second", row_id)[0].source.note
    shutil.rmtree(tmp_path / "first")
    (tree,) = trees(tmp_path, "second", row_id)
    assert tree.source.note == "it was the sink of another job, and is gone or has lost its record"
    assert tree.source.note in shown([tree])
    assert run.plan.job.name not in shown([tree])


def test_sinks_that_are_each_others_source_end_in_a_line(tmp_path, broken):
    first(tmp_path, broken)
    second(tmp_path, broken, {"uri": str(tmp_path / "first"), "id": "row_id"})
    record = next((tmp_path / "first" / "_latentmill" / "runs").glob("*/run.json"))
    told = json.loads(record.read_text())
    told["job"]["source"]["id"] = "row_id"
    record.write_text(json.dumps(told))
    for path in (tmp_path / "first" / "data").iterdir():
        table = pa.parquet.read_table(path)
        uri, ids = pa.array([str(tmp_path / "first")] * len(table)), table["row_id"]
        at = [table.schema.get_field_index(name) for name in ("source_uri", "source_id")]
        pa.parquet.write_table(table.set_column(at[0], "source_uri", uri).set_column(at[1], "source_id", ids), path)
    for path in (tmp_path / "first" / "_latentmill" / "outcomes").iterdir():
        table = pa.parquet.read_table(path)
        ids = pa.array([f"{one}/fragile.a" for one in table["source_id"].to_pylist()])
        at = table.schema.get_field_index("source_id")
        pa.parquet.write_table(table.set_column(at, "source_id", ids), path)
    (tree,) = trees(tmp_path, "second", "table#0/fragile.a/fragile.x")
    assert "comes of itself" in tree.source.row.source.note


def test_what_is_not_there_is_one_line_with_the_nearest_id(tmp_path, broken):
    first(tmp_path, broken)
    with pytest.raises(UserError, match=r"'table#7/fragil.b'; did you mean 'table#7/fragile.b'\?; or a filter"):
        trees(tmp_path, "first", "table#7/fragil.b")
    with pytest.raises(UserError, match=r"there is no row 'tabel#11/fragile.b'; did you mean 'table#11/fragile.b'\?$"):
        trees(tmp_path, "first", "tabel#11/fragile.b")
    with pytest.raises(UserError, match=r"no row '日本'; ids here are like 'table#\d+/fragile.a'$"):
        trees(tmp_path, "first", "日本")


def test_a_run_without_a_record_leaves_what_the_row_tells(tmp_path, broken):
    first(tmp_path, broken)
    shutil.rmtree(tmp_path / "first" / "_latentmill" / "runs")
    (tree,) = trees(tmp_path, "first", "table#7/fragile.b")
    assert tree.values["n"] == 7
    assert "no record of run" in shown([tree])


def test_a_row_has_an_id_for_every_step_that_made_several():
    steps = [{"edit": {}}, {"caption": {}}, {"edit": {}}, {"generate": {}}]
    assert names(steps) == ["edit", "caption", "edit-2", "generate"]
    row_id = "cats/edit.jpg/edit.to/bed/edit-2.dog/generate.3"
    first_edit, last = "cats/edit.jpg/edit.to/bed", "cats/edit.jpg/edit.to/bed/edit-2.dog"
    assert chain(names(steps), "cats/edit.jpg", row_id) == [first_edit, first_edit, last, row_id]


def test_the_command_prints_a_tree_or_json(tmp_path, broken, capsys):
    run = first(tmp_path, broken)
    code, out, _ = latentmill(capsys, "lineage", tmp_path / "first", "table#7/fragile.b")
    assert code == 0
    assert out.startswith("table#7/fragile.b: accepted\n|-- in data/part-")
    assert f"run {run.start.run_id} of job numbers (run, epoch 1): done" in out
    assert out.splitlines()[-2].startswith("`-- source table, row table#7")
    code, out, _ = latentmill(capsys, "lineage", tmp_path / "first", "table#7", "--json")
    assert [row["row_id"] for row in json.loads(out)["rows"]] == ["table#7/fragile.a", "table#7/fragile.b"]
    code, _, err = latentmill(capsys, "lineage", tmp_path / "first", "x")
    assert (code, err.count("\n")) == (2, 1)
