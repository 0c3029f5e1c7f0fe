"""What is done is known without reading what is done."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs.pipeline.reader import marked, shares
from jobs.pipeline.stamp import Stamp
from jobs.sink import ledger
from jobs.sink.ledger import Start
from jobs.sink.recall import Recall, WholeFile
from jobs.sink.seen import Seen
from jobs.sink.writer import Writer
from jobs.sources import Described, Fragment
from jobs.stores.store import Store
from operators import columns
from operators.errors import SinkError
from tests.jobs.reading import described

PART_ROWS = 4


def writer(sink: Path, found: Described) -> Writer:
    start = Start("run-1", "plan")
    epoch = ledger.claim(Store(str(sink)), start, ledger.check(Store(str(sink)), start))
    ledger.settle(epoch, start)
    return Writer(epoch, pa.schema([*found.schema, *columns.LINEAGE]))


def commit(sink: Path, found: Described, fragments: list[Fragment], whole: WholeFile | None = None) -> None:
    """Do what a run does with fragments that it has read; ``whole`` is noted with the last part."""
    written, stamp = writer(sink, found), Stamp(found.uri, "run-1", "plan", 0)
    tables = [(fragment, *read) for fragment in fragments for read in marked(fragment, PART_ROWS)]
    for number, (fragment, table, versions) in enumerate(tables, 1):
        noted = whole.noted() if whole and number == len(tables) else {}
        written.commit(stamp.rows(table, versions), ledger.file_key(fragment.file), noted)


def recall(sink: Path) -> Recall:
    store = Store(str(sink))
    return Recall(store, ledger.committed(store), Seen.load(store))


def finished(sink: Path, found: Described) -> list[bool]:
    """Which fragments need not be read."""
    memory = recall(sink)
    return [places is not None for one in found.fragments for places in memory.of(one.file).finished([one])]


def parquet_files(folder: Path, **rows: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in rows.items():
        table = pa.table({"sku": [f"{name}-{n}" for n in range(count)], "payload": [os.urandom(500)] * count})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=PART_ROWS, compression="none")
    return folder


def destroy(path: Path, *names: str) -> None:
    """Overwrite the data pages of columns and leave the footer and what is told of the file as they are."""
    data, metadata, told = bytearray(path.read_bytes()), pq.read_metadata(path), path.stat()
    for group in range(metadata.num_row_groups):
        for at in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(at)
            if chunk.path_in_schema in names:
                first = chunk.dictionary_page_offset or chunk.data_page_offset
                data[first : first + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(data)
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))


def shard(path: Path, keys: range) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key in keys:
            info = tarfile.TarInfo(f"{key:05d}.txt")
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    return path


def test_a_file_that_is_done_is_skipped_though_its_data_is_destroyed(tmp_path: Path) -> None:
    folder = parquet_files(tmp_path / "in", a=10, b=6)
    found = described(folder, PART_ROWS)
    commit(tmp_path / "out", found, found.fragments[:3])
    destroy(folder / "a.parquet", "sku", "payload")
    assert finished(tmp_path / "out", found) == [True, True, True, False, False]
    with pytest.raises(OSError, match=r"."):
        pq.read_table(folder / "a.parquet")


def test_with_an_id_column_no_other_is_read(tmp_path: Path) -> None:
    folder = parquet_files(tmp_path / "in", a=10, b=6)
    found = described(folder, PART_ROWS, id="sku")
    commit(tmp_path / "out", found, found.fragments[:4])
    destroy(folder / "a.parquet", "payload")
    assert finished(tmp_path / "out", found) == [True, True, True, True, False]


def test_with_an_id_column_rows_are_known_wherever_they_moved(tmp_path: Path) -> None:
    found = described(parquet_files(tmp_path / "in", a=10), PART_ROWS, id="sku")
    commit(tmp_path / "out", found, found.fragments)
    (tmp_path / "in" / "a.parquet").rename(tmp_path / "in" / "moved.parquet")
    assert finished(tmp_path / "out", described(tmp_path / "in", 100, id="sku")) == [True]


def test_rows_without_files_are_known_by_their_place(tmp_path: Path) -> None:
    for name, uri in {"scenes": "builtin:shapes?rows=10", "table": pa.table({"n": range(10)})}.items():
        found = described(uri, PART_ROWS)
        commit(tmp_path / name, found, found.fragments[1:])
        assert finished(tmp_path / name, found) == [False, True, True]


def test_another_cut_of_the_source_finds_the_same_rows(tmp_path: Path) -> None:
    folder = parquet_files(tmp_path / "in", a=16)
    found = described(folder, PART_ROWS)
    commit(tmp_path / "out", found, found.fragments[:3])
    assert finished(tmp_path / "out", described(folder, 8)) == [True, False]
    assert finished(tmp_path / "out", described(folder, 100)) == [False]
    assert finished(tmp_path / "out", described(folder, 100, limit=12)) == [True]


def test_what_was_done_is_counted_per_fragment(tmp_path: Path) -> None:
    found = described(parquet_files(tmp_path / "in", a=10), PART_ROWS)
    commit(tmp_path / "out", found, found.fragments)
    earlier = recall(tmp_path / "out").of("a.parquet")
    (places,) = earlier.finished(found.fragments[2:])
    assert earlier.done.counts(places) == {"rows": 2, "rejected": 0, "not_rejected": 2}


def test_files_whose_names_share_a_key_are_told_apart(tmp_path: Path) -> None:
    found = described(parquet_files(tmp_path / "in", a=4, b=4), PART_ROWS)
    commit(tmp_path / "out", found, found.fragments)
    memory = recall(tmp_path / "out")
    memory._parts = dict.fromkeys(memory._parts, ledger.committed(Store(str(tmp_path / "out"))))
    done = memory.of("b.parquet").done
    assert (len(done), (done.find(pa.chunked_array([["a.parquet#0"]])) >= 0).any()) == (4, False)


def test_a_shard_is_skipped_unread_if_its_last_part_tells_that_it_is_whole(tmp_path: Path) -> None:
    path = shard(tmp_path / "in" / "0.tar", range(10))
    found = described(path, PART_ROWS)
    (fragment,) = found.fragments
    whole = WholeFile("0.tar", 10, fragment.stretch.version())
    commit(tmp_path / "untold", found, [fragment])
    assert finished(tmp_path / "untold", found) == [False]
    commit(tmp_path / "short", found, [fragment], WholeFile("0.tar", 11, whole.version))
    assert finished(tmp_path / "short", found) == [False]
    commit(tmp_path / "out", found, [fragment], whole)
    assert finished(tmp_path / "out", found) == [True]
    shard(path, range(12))
    os.utime(path, ns=(0, 0))
    assert finished(tmp_path / "out", described(path, PART_ROWS)) == [False]


def test_outcomes_are_held_for_one_file_at_a_time(tmp_path: Path) -> None:
    found = described(parquet_files(tmp_path / "in", a=4, b=4), PART_ROWS)
    commit(tmp_path / "out", found, found.fragments)
    memory = recall(tmp_path / "out")
    first = memory.of("a.parquet")
    for name in ledger.committed(Store(str(tmp_path / "out"))):
        (tmp_path / "out" / ledger.OUTCOMES / name).unlink()
    assert memory.of("a.parquet") is first
    with pytest.raises(SinkError, match="vanished while it was read"):
        memory.of("b.parquet")
    with pytest.raises(SinkError, match="vanished while it was read"):
        memory.of("a.parquet")


def test_shares_keep_a_file_together_and_cut_a_large_one(tmp_path: Path) -> None:
    rows = {"a": 8, "b": 40, "c": 4, "d": 4, "e": 4}
    found = described(parquet_files(tmp_path / "in", **rows), PART_ROWS)
    cut = shares(found.fragments, 4)
    assert [fragment for share in cut for fragment in share] == found.fragments
    named = [[fragment.file[0] for fragment in share] for share in cut]
    assert named == [["a", "a"], ["b"] * 4, ["b"] * 4, ["b", "b", "c", "d"], ["e"]]


def test_ids_known_beforehand_are_those_that_are_read(tmp_path: Path) -> None:
    folder = parquet_files(tmp_path / "in", a=10, b=3)
    (tmp_path / "pictures").mkdir()
    for name in "xyz":
        (tmp_path / "pictures" / f"{name}.png").touch()
    given: list[tuple[Any, dict[str, Any]]] = [
        (folder, {}),
        (folder, {"id": "sku"}),
        (folder, {"limit": 7}),
        (folder, {"id": "sku", "limit": 7}),
        (tmp_path / "pictures", {}),
        ("builtin:shapes?rows=9", {"limit": 6}),
    ]
    for uri, options in given:
        for fragment in described(uri, PART_ROWS, **options).fragments:
            read = pa.concat_tables(fragment.read(3))[columns.SOURCE_ID]
            known = fragment.ids()
            assert known is not None
            assert pc.all(pc.equal(known, read)).as_py()
            assert len(known) == len(read)
