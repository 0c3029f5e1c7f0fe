import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import ledger
from jobs.done import DoneRows
from jobs.storage import Store
from operators.errors import SinkError


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "local":
        return Store(str(tmp_path / "sink"))
    return Store(f"memory://{tmp_path.name}/sink")


def parquet(*ids):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"source_id": pa.array(ids, pa.string())}), sink)
    return bytes(sink.getvalue())


def write(epoch, digest, *ids):
    name = epoch.part_name(digest)
    epoch.commit(name, b"rows", b"rejects", parquet(*ids))
    return name


def everything(store):
    return {folder: store.names(folder) for folder in (ledger.DATA, ledger.REJECTS, ledger.OUTCOMES)}


def test_a_second_start_keeps_what_the_first_committed(store):
    first = ledger.claim(store, "run-1", "plan")
    name = write(first, "aa", "x", "y")
    second = ledger.claim(store, "run-2", "plan")
    assert second.number == 2
    assert ledger.committed(store) == [name]
    assert [t["source_id"].to_pylist() for t in ledger.outcomes(store, [name], ["source_id"])] == [["x", "y"]]


def test_a_part_without_outcomes_is_removed_at_the_next_start(store):
    first = ledger.claim(store, "run-1", "plan")
    name = first.part_name("bb")
    store.put(f"{ledger.DATA}/{name}", b"rows")
    store.put(f"{ledger.REJECTS}/{name}", b"rejects")
    ledger.claim(store, "run-2", "plan")
    assert everything(store) == {ledger.DATA: [], ledger.REJECTS: [], ledger.OUTCOMES: []}


def test_a_late_part_of_a_dead_run_does_not_count_and_is_swept(store):
    dead = ledger.claim(store, "run-1", "plan")
    alive = ledger.claim(store, "run-2", "plan")
    late = dead.part_name("cc")
    for folder in (ledger.DATA, ledger.OUTCOMES):
        store.put(f"{folder}/{late}", parquet("x"))
    kept = write(alive, "dd", "x")
    assert ledger.committed(store) == [kept]
    ledger.close(alive)
    assert everything(store) == {folder: [kept] for folder in (ledger.DATA, ledger.REJECTS, ledger.OUTCOMES)}


def test_outcomes_that_land_after_their_rows_were_removed_never_count(store):
    dead = ledger.claim(store, "run-1", "plan")
    late = dead.part_name("ee")
    store.put(f"{ledger.DATA}/{late}", b"rows")
    ledger.claim(store, "run-2", "plan")
    store.put(f"{ledger.OUTCOMES}/{late}", parquet("x"))
    ledger.claim(store, "run-3", "plan")
    assert ledger.committed(store) == []
    assert everything(store)[ledger.OUTCOMES] == []


def test_a_start_that_died_before_its_note_changes_nothing(store):
    first = ledger.claim(store, "run-1", "plan")
    name = write(first, "ff", "x")
    store.put_new(f"{ledger.EPOCHS}/000002.json", b'{"run_id": "run-2", "fingerprint": "plan"}')
    ledger.claim(store, "run-3", "plan")
    assert ledger.committed(store) == [name]


def test_a_run_that_was_overtaken_commits_no_more(store):
    first = ledger.claim(store, "run-1", "plan")
    ledger.claim(store, "run-2", "plan")
    with pytest.raises(SinkError, match="another run has taken over"):
        write(first, "aa", "x")
    assert everything(store)[ledger.OUTCOMES] == []


def test_another_plan_is_refused_before_anything_is_written(store):
    ledger.claim(store, "run-1", "plan-a")
    with pytest.raises(SinkError, match="rows of another plan"):
        ledger.claim(store, "run-2", "plan-b")
    assert store.names(ledger.EPOCHS) == ["000001.json"]


def test_files_that_are_not_parts_are_left_alone(store):
    store.put("data/mine.parquet", b"mine")
    ledger.close(ledger.claim(store, "run-1", "plan"))
    assert store.get("data/mine.parquet") == b"mine"


def test_only_the_first_of_two_writes_of_a_new_object_wins(store):
    assert store.put_new("one", b"first")
    assert not store.put_new("one", b"second")
    assert store.get("one") == b"first"


def test_a_relative_path_stays_the_same_place_in_another_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = pickle.loads(pickle.dumps(Store.at("out")))
    monkeypatch.chdir("/")
    store.put("data/x", b"1")
    assert (tmp_path / "out" / "data" / "x").read_bytes() == b"1"


def test_what_a_killed_writer_left_half_written_is_removed(tmp_path):
    store = Store(str(tmp_path))
    left = tmp_path / ".unfinished" / "abc"
    left.parent.mkdir()
    left.write_bytes(b"half")
    ledger.claim(store, "run-1", "plan")
    assert not left.exists()


def test_a_file_where_the_sink_should_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SinkError, match=r"name a folder|Not a directory|File exists"):
        ledger.claim(Store(str(tmp_path / "file")), "run-1", "plan")


def test_an_unknown_protocol_is_one_line():
    with pytest.raises(SinkError, match="there is no store 'nonsense'"):
        Store("nonsense://x").names("data")


def test_done_rows_tells_members_from_others():
    ids = [f"row-{n}" for n in range(1000)]
    done = DoneRows.of([ids[:300], ids[300:500], []])
    assert len(done) == 500
    assert done.contains(ids).tolist() == [True] * 500 + [False] * 500
    assert not DoneRows.of([]).contains(["x"]).any()
    assert done.contains([]).shape == (0,)
