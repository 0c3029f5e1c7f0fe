"""Rows that are done and no longer in the source are found, and told of once."""

from __future__ import annotations

import io
import tarfile
from collections import defaultdict

from jobs.sink import ledger, seen
from jobs.sink.ledger import Epoch
from jobs.sink.noticed import vanished
from jobs.sink.seen import GONE
from jobs.stores.store import Store
from tests.jobs.reading import described
from tests.jobs.test_recall import commit, parquet_files


def lost(sink, found, *changed):
    files = defaultdict(list)
    for fragment in found.fragments:
        files[fragment.file].append(fragment)
    return vanished(Store(str(sink)), {file: files[file] for file in changed}, set(map(ledger.file_key, files)))


def test_rows_of_files_that_are_gone_and_of_files_that_shrank(tmp_path):
    folder, sink = parquet_files(tmp_path / "in", a=6, b=2, c=3), tmp_path / "out"
    found = described(folder)
    commit(sink, found, found.fragments)
    assert lost(sink, found, "a.parquet", "c.parquet") == []
    parquet_files(folder, a=4)
    (folder / "b.parquet").unlink()
    gone = ["a.parquet#4", "a.parquet#5", "b.parquet#0", "b.parquet#1"]
    assert lost(sink, described(folder), "a.parquet", "c.parquet") == gone
    seen.note(Epoch(Store(str(sink)), 2, "run-2", "plan", Store(str(sink))), dict.fromkeys(gone[1:], GONE))
    assert lost(sink, described(folder), "a.parquet", "c.parquet") == gone[:1]


def test_rows_with_ids_of_their_own_may_move_to_another_file(tmp_path):
    folder, sink = parquet_files(tmp_path / "in", a=3, b=2), tmp_path / "out"
    found = described(folder, id="sku")
    commit(sink, found, found.fragments)
    (folder / "a.parquet").rename(folder / "z.parquet")
    (folder / "b.parquet").unlink()
    assert lost(sink, described(folder, id="sku"), "") == ["b-0", "b-1"]


def test_samples_that_a_shard_no_longer_has(tmp_path):
    def shard(*keys):
        with tarfile.open(tmp_path / "in.tar", "w") as tar:
            for key in keys:
                entry = tarfile.TarInfo(f"{key}.txt")
                entry.size = 1
                tar.addfile(entry, io.BytesIO(b"x"))

    shard("a", "b", "c")
    found = described(tmp_path / "in.tar")
    commit(tmp_path / "out", found, found.fragments)
    shard("b")
    assert lost(tmp_path / "out", described(tmp_path / "in.tar"), "in.tar") == ["in.tar#a", "in.tar#c"]
