"""What a store promises, on every kind of store: a local folder, memory, S3 and Google Cloud Storage."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import s3fs

from jobs.stores.store import Store
from operators.errors import SinkError
from tests.flaky import Fault, Flaky, Trouble, flaky

ROOT = Path(__file__).parents[2]
RACERS, RACES = 3, 4
RACER = """
import sys
from jobs.stores.store import Store
store, me = Store(sys.argv[1]), sys.argv[2]
store.exists("warm")
print("ready", flush=True)
sys.stdin.readline()
print(*(int(store.put_new(f"race/{n}", f"{n} {me}".encode())) for n in range(int(sys.argv[3]))), flush=True)
"""


@pytest.fixture(params=["local", "memory", "s3", "gcs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "local":
        return Store(str(tmp_path / "sink"))
    if request.param == "memory":
        return Store(f"memory://{tmp_path.name}/sink")
    return Store(f"{request.getfixturevalue(request.param).new_bucket()}/a/sink")


@pytest.fixture(params=["s3", "gcs"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Flaky, Store]]:
    """A store behind a proxy that misbehaves when it is told to."""
    server = request.getfixturevalue(request.param)
    with flaky(server.endpoint) as middle:
        monkeypatch.setenv("AWS_ENDPOINT_URL", middle.endpoint)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", middle.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        yield middle, Store(f"{server.new_bucket()}/sink")
    s3fs.S3FileSystem.clear_instance_cache()


def test_objects_are_written_whole_read_listed_copied_and_removed(store: Store) -> None:
    assert (store.get("a/1"), store.exists("a/1"), store.names("a"), store.below("a")) == (None, False, [], [])
    store.put("a/1", b"one")
    store.put("a/1", b"uno")
    store.put("a/b/2", b"")
    store.copy("a/1", "c/3")
    store = pickle.loads(pickle.dumps(store))
    assert [store.get(name) for name in ("a/1", "a/b/2", "c/3")] == [b"uno", b"", b"uno"]
    assert store.exists("a/1")
    assert store.below("a") == ["a/1", "a/b/2"]
    store.remove(["a/1", "a/1", "nowhere"])
    store.remove_folders(["a/b", "nowhere"])
    assert (store.below("a"), store.below("c")) == ([], ["c/3"])


def test_an_object_is_read_a_piece_at_a_time(store: Store) -> None:
    store.put("x", bytes(range(200)))
    with store.open("x") as file:
        assert file.read(3) == bytes(range(3))
        assert file.seek(-2, 2) == 198
        assert (file.read(), file.read(1), file.tell()) == (b"\xc6\xc7", b"", 200)
    with pytest.raises(FileNotFoundError):
        store.open("y")


def test_only_the_first_of_two_writes_of_a_new_object_wins(store: Store) -> None:
    assert store.put_new("one", b"first")
    assert not store.put_new("one", b"second")
    assert store.get("one") == b"first"


def test_of_many_threads_one_wins(store: Store) -> None:
    for race in range(RACES):
        with ThreadPoolExecutor(RACERS) as pool:
            won = list(pool.map(lambda me: store.put_new(f"race/{race}", b"%d" % me), range(RACERS)))  # noqa: B023
        assert won.count(True) == 1
        assert store.get(f"race/{race}") == b"%d" % won.index(True)


@pytest.mark.parametrize("kind", ["local", "s3", "gcs"])
def test_of_many_processes_one_wins(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    uri = str(tmp_path) if kind == "local" else request.getfixturevalue(kind).new_bucket()
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, uri, str(me), str(RACES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for me in range(RACERS)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [list(map(int, racer.communicate()[0].split())) for racer in racers]
    assert [sum(column) for column in zip(*won, strict=True)] == [1] * RACES
    first = [next(me for me in range(RACERS) if won[me][race]) for race in range(RACES)]
    assert [Store(uri).get(f"race/{race}") for race in range(RACES)] == [
        f"{race} {me}".encode() for race, me in enumerate(first)
    ]


def test_a_winner_whose_answer_was_lost_finds_out_that_it_won(proxy: tuple[Flaky, Store]) -> None:
    middle, store = proxy
    for method in ("PUT", "POST"):
        middle.inject(Fault(Trouble.LOSE_ANSWER, method=method))
    assert store.put_new("epoch", b"mine")
    assert Trouble.LOSE_ANSWER in [trouble for trouble, _, _ in middle.happened]
    assert not store.put_new("epoch", b"another's")


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble.STATUS,
        Trouble.CUT_UPLOAD,
        pytest.param(Trouble.CUT_ANSWER, marks=pytest.mark.long),
        pytest.param(Trouble.LOSE_ANSWER, marks=pytest.mark.long),
    ],
)
def test_operations_outlast_trouble(proxy: tuple[Flaky, Store], trouble: Trouble) -> None:
    middle, store = proxy
    data = os.urandom(100_000)

    # More often than the S3 driver tries by itself; that of Google tries for half a minute, however often.
    times = (6 if store.uri.startswith("s3:") else 1) if trouble is Trouble.STATUS else 2

    def troubled() -> None:
        middle.inject(Fault(trouble, times=times, code="ServiceUnavailable"))

    troubled()
    store.put("a/x", data)
    troubled()
    assert store.get("a/x") == data
    troubled()
    assert store.exists("a/x")
    troubled()
    assert not store.exists("a/y")
    troubled()
    assert store.names("a") == ["x"]
    troubled()
    assert store.below("") == ["a/x"]
    troubled()
    store.copy("a/x", "a/z")
    troubled()
    with store.open("a/z") as file:
        file.seek(50_000)
        troubled()
        assert file.read(10_000) == data[50_000:60_000]
        troubled()
        assert file.read() == data[60_000:]
    troubled()
    store.remove(["a/x", "a/z"])
    assert store.names("a") == []
    assert len(middle.happened) >= 10


def test_operations_wait_for_a_store_that_is_down(proxy: tuple[Flaky, Store]) -> None:
    middle, store = proxy
    store.put("x", b"1")
    middle.refuse()
    with ThreadPoolExecutor(4) as pool:
        waiting = [
            pool.submit(store.put, "y", b"2"),
            pool.submit(store.get, "x"),
            pool.submit(store.put_new, "z", b"3"),
            pool.submit(store.names, ""),
        ]
        with pytest.raises(TimeoutError):
            waiting[0].result(timeout=2)
        middle.accept()
        assert [done.result(timeout=60) for done in waiting[1:3]] == [b"1", True]
    assert store.names("") == ["x", "y", "z"]


@pytest.mark.long
def test_operations_outlast_the_patience_of_google_s_driver(proxy: tuple[Flaky, Store]) -> None:
    middle, store = proxy
    middle.inject(Fault(Trouble.STATUS, times=12))
    store.put("x", b"1")
    assert store.get("x") == b"1"


def test_what_lasts_is_not_tried_again(s3, monkeypatch: pytest.MonkeyPatch) -> None:
    with flaky(s3.endpoint) as middle:
        bucket = s3.new_bucket()
        monkeypatch.setenv("AWS_ENDPOINT_URL", middle.endpoint)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(SinkError, match=r"access is denied .*; check the credentials and the rights"):
            Store(bucket).put("x", b"1")
        assert len(middle.requests) == 1
    s3fs.S3FileSystem.clear_instance_cache()


def test_nothing_is_written_to_the_disk_of_who_reads_or_writes(proxy: tuple[Flaky, Store]) -> None:
    """Not by a large object either, which goes in several requests."""
    _, store = proxy
    opened: list[tuple[object, ...]] = []
    watching = [True]

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and watching and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            opened.append(arguments)

    sys.addaudithook(watch)
    data = os.urandom(1 << 20) * 101
    store.put("large", data)
    assert store.get("large") == data
    with store.open("large") as file:
        file.seek(1 << 26)
        assert file.read(9) == data[1 << 26 :][:9]
    store.copy("large", "copy")
    assert store.put_new("new", b"1")
    store.remove(["large", "copy"])
    watching.clear()
    assert opened == []
