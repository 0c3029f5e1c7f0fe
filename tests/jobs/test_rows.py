"""One reader for what jobs have written, in every format."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import Job
from jobs.formats import SinkFormat
from jobs.sink.ledger import file_key, file_of
from jobs.sink.rows import SinkRows, source_ids_of
from jobs.stores.store import Store
from operators.errors import SinkError
from operators.images import encode_all
from operators.models.builtin.scenes import draw, scene
from tests.jobs import sinks
from tests.jobs.steps import Fragile


class Counting(Store):
    """A store that notes which objects are opened or got."""

    read: list[str] = []  # noqa: RUF012

    def get(self, name):
        self.read.append(name)
        return super().get(name)

    def open(self, name):
        self.read.append(name)
        return super().open(name)


def sink_of(tmp_path, broken=(), **options):
    folder = tmp_path / "broken"
    folder.mkdir()
    for name, code in broken:
        (folder / name).write_text(code)
    return sinks.done(sinks.job(str(tmp_path / "out"), folder, **options)), Store.at(str(tmp_path / "out"))


@pytest.mark.parametrize("format_", SinkFormat)
def test_rows_of_every_format_are_read_and_found(tmp_path, format_):
    pictures = encode_all(draw([scene(number, 0) for number in range(12)]))
    source = pa.table({"n": range(12), "image": pictures})
    run, store = sink_of(tmp_path, format=format_, source=source, broken=[("table#4+fragile.b", "not_finite")])
    rows = SinkRows.of(store)
    table = pa.Table.from_batches(rows.batches(["row_id", "drawn"]))
    assert rows.format is format_
    assert table.column_names == ["row_id", "drawn"]
    assert table.num_rows == 23
    assert set(rows.schema.names) == set(run.plan.output.names)
    assert [*rows.runs] == [run.start.run_id]
    found = rows.find("table#7/fragile.b")
    assert found["n"] == 7
    assert found["source_id"] == "table#7"
    assert found["image"]["bytes"] == pictures[7].as_py()["bytes"]
    assert found["drawn"] == table.filter(pa.compute.equal(table["row_id"], "table#7/fragile.b"))["drawn"][0].as_py()
    assert rows.find("table#4/fragile.b") is None
    assert rows.find("table#4/fragile.a") is not None
    (rejected,) = rows.rejects()
    assert rejected["row_id"].to_pylist() == ["table#4/fragile.b"]
    ((part, lines),) = rows.outcomes(["table#4"])
    assert part in rows.parts
    (line,) = lines.to_pylist()
    assert (line["outcome"], line["outputs"], line["rejects"], line["attempt"]) == ("ok", 1, 1, 1)


def test_only_parts_of_the_source_row_are_read(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a", "b"):
        pq.write_table(pa.table({"n": range(4)}), source / f"{name}.parquet", row_group_size=2)
    job = Job(
        source=str(source),
        steps=[Fragile(broken=str(tmp_path), to=("x",))],
        sink={"uri": str(tmp_path / "out"), "part_rows": 2},
    )
    run = sinks.begun(job)
    run.commit_files()
    run.end()
    store = Counting(str(tmp_path / "out"))
    rows = SinkRows.of(store)
    store.read.clear()
    assert rows.find("b.parquet#3/fragile.x")["n"] == 3
    outcomes = [name for name in store.read if "outcomes/" in name]
    assert len(outcomes) == 2
    assert {file_of(Path(name).name) for name in outcomes} == {file_key("b.parquet")}
    assert len([name for name in store.read if name.startswith("data/")]) == 1


def test_rows_that_came_in_two_attempts_are_found_in_both_parts(tmp_path):
    run, store = sink_of(tmp_path, broken=[("table#0+fragile.b", "not_finite")])
    (tmp_path / "broken" / "table#0+fragile.b").unlink()
    assert sinks.retried(run.plan.job).rows_out == 1
    rows = SinkRows.of(store)
    parts = [part for part, _ in rows.rows_of(["table#0"])]
    assert len(parts) == 2
    assert rows.find("table#0/fragile.b")["run_id"] != rows.find("table#0/fragile.a")["run_id"]
    assert not list(rows.rejects())


def test_an_id_may_be_that_of_several_source_rows():
    assert source_ids_of("cats/a.jpg/edit.dog") == ["cats", "cats/a.jpg", "cats/a.jpg/edit.dog"]


def test_what_is_no_sink_and_what_is_damaged_is_said(tmp_path):
    with pytest.raises(SinkError, match="no job has written here"):
        SinkRows.of(Store.at(str(tmp_path)))
    _, store = sink_of(tmp_path)
    for path in (tmp_path / "out" / "data").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SinkError, match="latentmill verify"):
        list(SinkRows.of(store).batches())
