"""A job that is run again and again over a source that grows and changes."""

from __future__ import annotations

import io
import os
import tarfile

import lance
import pyarrow as pa
import pyarrow.parquet as pq

from jobs import Job
from jobs.sink import ledger
from jobs.sink.tally import tally
from jobs.stores.store import Store
from jobs.verify import verify
from tests.jobs.steps import Fragile
from tests.ray.datasets import outcomes, rows


def table(path, **values):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"word": list(values), "n": list(values.values())}), path)
    later(path)


def later(path):
    """The file's time of change moves on even where the clock is too coarse to tell."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000 * len(list(path.parent.iterdir()))))


def unreadable(path):
    """Nothing but zeros, and no sign of a change; the end is left, where the plan finds the columns."""
    data, stat = path.read_bytes(), path.stat()
    end = pq.read_metadata(path).serialized_size + 8
    path.write_bytes(bytes(len(data) - end) + data[-end:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def seen(sink, version=None):
    found = lance.dataset(str(sink / "data.lance"), version=version).to_table(columns=["row_id", "n"])
    assert len(set(found["row_id"].to_pylist())) == found.num_rows
    return dict(zip(found["row_id"].to_pylist(), found["n"].to_pylist(), strict=True))


def told(summary):
    return summary.rows_before, summary.rows_in, summary.changed, summary.outdated.rows, summary.vanished.rows


def test_nights_over_files_into_a_lance_table(cluster, tmp_path):
    source, sink = tmp_path / "in", tmp_path / "out"
    job = Job(source=str(source), steps=[], sink={"uri": str(sink), "format": "lance", "part_rows": 2})
    table(source / "a.parquet", x=1, y=2, z=3)
    table(source / "b.parquet", u=1)
    table(source / "c.parquet", v=1, w=2)
    first = job.run()
    assert (told(first), first.snapshot) == ((0, 6, 0, 0, 0), 1)

    for name in "abc":
        unreadable(source / f"{name}.parquet")
    second = job.run()
    assert (told(second), second.snapshot) == ((6, 0, 0, 0, 0), None)

    table(source / "a.parquet", x=1, y=20, z=3, new=4)
    table(source / "b.parquet", u=1)
    (source / "c.parquet").unlink()
    table(source / "d.parquet", t=7)
    third = job.run()
    assert (told(third), third.snapshot) == ((3, 3, 1, 0, 2), 2)
    assert third.vanished.ids == ["c.parquet#0", "c.parquet#1"]
    listed = pq.read_table(sink / "_latentmill" / "runs" / third.run_id / "vanished.parquet")
    assert listed["source_id"].to_pylist() == third.vanished.ids
    kept = {"c.parquet#0": 1, "c.parquet#1": 2}
    assert seen(sink) == {
        "a.parquet#0": 1,
        "a.parquet#1": 20,
        "a.parquet#2": 3,
        "a.parquet#3": 4,
        "b.parquet#0": 1,
        "d.parquet#0": 7,
        **kept,
    }
    assert seen(sink, 1) == {"a.parquet#0": 1, "a.parquet#1": 2, "a.parquet#2": 3, "b.parquet#0": 1, **kept}

    for name in "abd":
        unreadable(source / f"{name}.parquet")
    fourth = job.run()
    assert (told(fourth), fourth.snapshot) == ((6, 0, 0, 0, 0), None)
    store = Store(str(sink))
    assert tally(store, ledger.committed(store)).rows == 8
    assert verify(store).lines() == []

    table(source / "a.parquet", x=1)
    fifth = job.run()
    assert (told(fifth), fifth.vanished.ids) == ((3, 0, 0, 0, 3), ["a.parquet#1", "a.parquet#2", "a.parquet#3"])


def test_changed_rows_stay_as_they_were_where_rows_can_not_be_replaced(cluster, tmp_path):
    source, sink = tmp_path / "in", tmp_path / "out"
    job = Job(source=str(source), steps=[], sink={"uri": str(sink), "part_rows": 2})
    table(source / "a.parquet", x=1, y=2, z=3)
    job.run()
    table(source / "a.parquet", x=1, y=20, z=30, new=4)
    second = job.run()
    assert told(second) == (3, 1, 0, 2, 0)
    assert second.outdated.ids == ["a.parquet#1", "a.parquet#2"]
    assert rows(sink)["n"].tolist() == [1, 2, 3, 4]
    unreadable(source / "a.parquet")
    assert told(job.run()) == (4, 0, 0, 0, 0)


def test_a_row_that_fails_after_a_change_is_rejected_and_its_old_rows_go(cluster, tmp_path):
    source, sink, broken = tmp_path / "in", tmp_path / "out", tmp_path / "broken"
    broken.mkdir()
    steps = [Fragile(broken=str(broken))]
    job = Job(source=str(source), steps=steps, sink={"uri": str(sink), "format": "lance"}, max_rejects=9)
    (broken / "a.parquet#1").write_text("not_finite")
    table(source / "a.parquet", x=1, y=2)
    assert told(job.run()) == (0, 2, 0, 0, 0)
    (broken / "a.parquet#1").unlink()
    (broken / "a.parquet#0").write_text("not_finite")
    table(source / "a.parquet", x=10, y=20)
    second = job.run()
    assert (told(second), second.rows_out, second.rejected.total()) == ((0, 2, 2, 0, 0), 1, 1)
    assert seen(sink) == {"a.parquet#1": 20}
    assert rows(sink, "rejects")["source_id"].tolist() == ["a.parquet#0"]
    lines = outcomes(sink)[["source_id", "outcome"]].to_numpy().tolist()
    assert lines == [["a.parquet#0", "rejected"], ["a.parquet#1", "ok"]]
    assert verify(Store(str(sink)), job.plan()).lines() == []


def test_nights_over_pictures_read_only_those_that_are_new_or_changed(cluster, tmp_path):
    source, sink = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    job = Job(source=str(source), steps=[], sink={"uri": str(sink), "format": "lance", "part_rows": 3})

    def picture(name, data):
        (source / name).write_bytes(data)
        later(source / name)

    for name in "abcd":
        picture(f"{name}.png", name.encode())
    assert told(job.run()) == (0, 4, 0, 0, 0)
    stat = (source / "a.png").stat()
    (source / "a.png").write_bytes(b"-")
    os.utime(source / "a.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    picture("b.png", b"B")
    picture("c.png", b"c")
    (source / "d.png").unlink()
    picture("aa.png", b"new")
    second = job.run()
    assert (told(second), second.vanished.ids) == ((2, 2, 1, 0, 1), ["d.png"])
    found = lance.dataset(str(sink / "data.lance")).to_table()
    data = {row["row_id"]: row["image"]["bytes"] for row in found.to_pylist()}
    assert data == {"a.png": b"a", "aa.png": b"new", "b.png": b"B", "c.png": b"c", "d.png": b"d"}
    assert told(job.run()) == (4, 0, 0, 0, 0)


def test_nights_over_shards(cluster, tmp_path):
    source, sink = tmp_path / "in", tmp_path / "out"
    source.mkdir()

    def shard(name, **samples):
        with tarfile.open(source / name, "w") as tar:
            for key, text in samples.items():
                info = tarfile.TarInfo(f"{key}.txt")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
        later(source / name)

    job = Job(source=str(source), steps=[], sink={"uri": str(sink), "format": "lance", "part_rows": 2})
    shard("0.tar", d="4")
    shard("1.tar", a="1", b="2", c="3")
    assert told(job.run()) == (0, 4, 0, 0, 0)
    shard("1.tar", b="two", c="3", e="5")
    second = job.run()
    assert (told(second), second.vanished.ids) == ((2, 2, 1, 0, 1), ["1.tar#a"])
    told_of = (source / "1.tar").stat()
    (source / "1.tar").write_bytes(bytes(told_of.st_size))
    os.utime(source / "1.tar", ns=(told_of.st_atime_ns, told_of.st_mtime_ns))
    assert told(job.run())[1:] == (0, 0, 0, 0)


def test_nights_over_rows_with_ids_of_their_own(cluster, tmp_path):
    source, sink = tmp_path / "in", tmp_path / "out"
    job = Job(source={"uri": str(source), "id": "word"}, steps=[], sink={"uri": str(sink), "format": "lance"})
    table(source / "a.parquet", x=1, y=2)
    table(source / "b.parquet", z=3)
    assert told(job.run()) == (0, 3, 0, 0, 0)
    table(source / "a.parquet", y=20, x=1)
    (source / "b.parquet").unlink()
    table(source / "c.parquet", w=4)
    second = job.run()
    assert (told(second), second.vanished.ids) == ((1, 2, 1, 0, 1), ["z"])
    assert seen(sink) == {"x": 1, "y": 20, "z": 3, "w": 4}
    assert told(job.run()) == (3, 0, 0, 0, 0)
