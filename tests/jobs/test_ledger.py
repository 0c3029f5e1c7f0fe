import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.sink import ledger
from jobs.sink.ledger import Mode, Start
from jobs.stores.store import Store
from operators.errors import SinkError


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "local":
        return Store(str(tmp_path / "sink"))
    return Store(f"memory://{tmp_path.name}/sink")


FILE = ledger.file_key("part-0.parquet")


def begun(store, run_id, fingerprint="plan", mode=Mode.RUN):
    start = Start(run_id, fingerprint, mode)
    epoch = ledger.claim(store, start, ledger.check(store, start))
    ledger.settle(epoch, start)
    return epoch


def parquet(*ids):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"source_id": pa.array(ids, pa.string())}), sink)
    return bytes(sink.getvalue())


def write(epoch, digest, *ids):
    name = epoch.part_name(digest, FILE)
    epoch.store.put(f"{ledger.DATA}/{name}", b"rows")
    epoch.commit(name, b"rejects", parquet(*ids))
    return name


def everything(store):
    return {folder: store.names(folder) for folder in (ledger.DATA, ledger.REJECTS, ledger.OUTCOMES)}


def test_a_second_start_keeps_what_the_first_committed(store):
    first = begun(store, "run-1")
    name = write(first, "aa", "x", "y")
    second = begun(store, "run-2")
    assert second.number == 2
    assert ledger.committed(store) == [name]
    assert [t["source_id"].to_pylist() for t in ledger.outcomes(store, [name], ["source_id"])] == [["x", "y"]]


def test_a_part_without_outcomes_is_removed_at_the_next_start(store):
    first = begun(store, "run-1")
    name = first.part_name("bb", FILE)
    store.put(f"{ledger.DATA}/{name}", b"rows")
    store.put(f"{ledger.REJECTS}/{name}", b"rejects")
    begun(store, "run-2")
    assert everything(store) == {ledger.DATA: [], ledger.REJECTS: [], ledger.OUTCOMES: []}


def test_a_late_part_of_a_dead_run_does_not_count_and_is_swept(store):
    dead = begun(store, "run-1")
    alive = begun(store, "run-2")
    late = dead.part_name("cc", FILE)
    for folder in (ledger.DATA, ledger.OUTCOMES):
        store.put(f"{folder}/{late}", parquet("x"))
    kept = write(alive, "dd", "x")
    assert ledger.committed(store) == [kept]
    ledger.close(alive)
    assert everything(store) == {folder: [kept] for folder in (ledger.DATA, ledger.REJECTS, ledger.OUTCOMES)}


def test_outcomes_that_land_after_their_rows_were_removed_never_count(store):
    dead = begun(store, "run-1")
    late = dead.part_name("ee", FILE)
    store.put(f"{ledger.DATA}/{late}", b"rows")
    begun(store, "run-2")
    store.put(f"{ledger.OUTCOMES}/{late}", parquet("x"))
    begun(store, "run-3")
    assert ledger.committed(store) == []
    assert everything(store)[ledger.OUTCOMES] == []


def test_a_start_that_died_before_its_note_changes_nothing(store):
    first = begun(store, "run-1")
    name = write(first, "ff", "x")
    ledger.claim(store, Start("run-2", "plan"), after=1)
    begun(store, "run-3")
    assert ledger.committed(store) == [name]


def test_a_run_that_was_overtaken_commits_no_more(store):
    first = begun(store, "run-1")
    begun(store, "run-2")
    with pytest.raises(SinkError, match="another run has taken over"):
        write(first, "aa", "x")
    assert everything(store)[ledger.OUTCOMES] == []


def planned(run_id, plan, columns=None, mode=Mode.RUN):
    return Start(run_id, json.dumps(plan), mode, plan, columns or {"row_id": "string"})


def settled(store, start):
    epoch = ledger.claim(store, start, ledger.check(store, start))
    ledger.settle(epoch, start)
    return epoch


def test_another_plan_is_refused_before_anything_is_written_with_what_differs_and_the_ways_out(store):
    settled(store, planned("run-1", {"seed": 1, "steps": [{"caption": {"num_beams": 1}}]}))
    with pytest.raises(SinkError) as refused:
        ledger.check(store, planned("run-2", {"seed": 2, "steps": [{"caption": {"num_beams": 3}}]}))
    first, *differing, last = str(refused.value).splitlines()
    assert first == f"{store.uri}: holds rows of another plan; they differ in"
    assert differing == ["  seed: 1 -> 2", "  steps.0.caption.num_beams: 1 -> 3"]
    assert last.startswith("`--extend` keeps them ")
    assert "`--overwrite` makes everything anew" in last
    assert store.names(ledger.EPOCHS) == ["000001.json"]


def test_extended_a_sink_keeps_its_parts_and_goes_on_with_the_new_plan(store):
    name = write(settled(store, planned("run-1", {"seed": 1})), "aa", "x")
    settled(store, planned("run-2", {"seed": 2}, mode=Mode.EXTEND))
    assert ledger.committed(store) == [name]
    settled(store, planned("run-3", {"seed": 2}))
    with pytest.raises(SinkError, match="another plan"):
        ledger.check(store, planned("run-4", {"seed": 1}))


def test_a_sink_is_not_extended_by_rows_with_other_columns(store):
    settled(store, planned("run-1", {"seed": 1}))
    other = planned("run-2", {"seed": 2}, {"row_id": "int64", "caption": "string"}, Mode.EXTEND)
    with pytest.raises(SinkError, match=r"differ: row_id: string -> int64, caption: nothing -> string$"):
        ledger.check(store, other)


def test_an_extending_start_that_died_before_its_note_changes_no_plan(store):
    settled(store, planned("run-1", {"seed": 1}))
    ledger.claim(store, planned("run-2", {"seed": 2}, mode=Mode.EXTEND), after=1)
    assert ledger.check(store, planned("run-3", {"seed": 1})) == 2


def test_only_one_of_two_starts_that_saw_the_same_begins(store):
    first, second = Start("run-1", "plan"), Start("run-2", "plan")
    seen = ledger.check(store, first)
    assert ledger.check(store, second) == seen
    ledger.claim(store, first, seen)
    with pytest.raises(SinkError, match="another run started at this moment"):
        ledger.claim(store, second, seen)


def test_a_claim_whose_answer_was_lost_finds_itself(store):
    start = Start("run-1", "plan")
    assert ledger.claim(store, start, 0) == ledger.claim(store, start, 0)


def test_files_that_are_not_parts_are_left_alone(store):
    store.put("data/mine.parquet", b"mine")
    ledger.close(begun(store, "run-1"))
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
    begun(store, "run-1")
    assert not left.exists()


def test_a_file_where_the_sink_should_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SinkError, match=r"name a folder|Not a directory|File exists"):
        begun(Store(str(tmp_path / "file")), "run-1")


def test_an_unknown_protocol_is_one_line():
    with pytest.raises(SinkError, match="there is no store 'nonsense'"):
        Store("nonsense://x").names("data")


def test_names_tell_whose_files_rows_they_hold(store):
    epoch = begun(store, "run-1")
    files = ["a.parquet", "b.parquet", "", "a.parquet"]
    names = [epoch.part_name(f"{digest:020x}", ledger.file_key(file)) for digest, file in enumerate(files)]
    grouped = ledger.by_file(names)
    assert grouped[ledger.file_key("a.parquet")] == [names[0], names[3]]
    assert grouped[ledger.file_key("")] == [names[2]]
    assert len(grouped) == 3
    assert ledger.file_key("a.parquet") == "f2a84af8"


def test_many_outcomes_come_in_the_order_they_were_asked_for(store):
    epoch = begun(store, "run-1")
    names = [write(epoch, f"{number:04x}", f"row-{number}") for number in range(1500)]
    read = [table["source_id"][0].as_py() for table in ledger.outcomes(store, names, ["source_id"])]
    assert read == [f"row-{number}" for number in range(1500)]
