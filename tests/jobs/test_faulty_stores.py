"""Sources and sinks on stores that fail: every row once where that passes, one line where it lasts."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from jobs.sources.files import list_files
from jobs.stores import patience
from jobs.stores.store import Store
from operators.errors import SinkError, SourceError
from tests.flaky import Fault, Flaky, Trouble, flaky
from tests.jobs.reading import described, ids, read
from tests.servers import Server

ROOT = Path(__file__).parents[2]
ROWS = 60
OFTEN = 10**9


@pytest.fixture(params=["s3", "gcs"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each kind of store."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def middle(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flaky]:
    """A proxy before it, which all clients go through."""
    with flaky(server.endpoint, seed=3) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        yield proxy
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried again for long."""
    monkeypatch.setattr(patience, "PATIENCE", 1.0)


def parquet() -> bytes:
    sink = io.BytesIO()
    table = pa.table({"n": range(ROWS), "noise": [os.urandom(2000) for _ in range(ROWS)]})
    pq.write_table(table, sink, row_group_size=25)
    return sink.getvalue()


def shard(mode: str = "w") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as tar:
        for n in range(ROWS):
            for ending, data in (("txt", b"%d" % n), ("bin", os.urandom(2000))):
                info = tarfile.TarInfo(f"{n:03d}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def streamed(uri: str) -> Iterator[pa.Table]:
    """Tables as they are read, by a process that has listed nothing."""
    found = described(uri, part_rows=5)
    list_files(uri).root.filesystem.invalidate_cache()
    for fragment in found.fragments:
        yield from fragment.read(5)


@pytest.mark.parametrize(
    ("names", "data", "uri"),
    [
        (["a.parquet", "b/c.parquet"], parquet, ""),
        (["a.parquet", "b/c.parquet", "b/d.txt"], parquet, "/*/*.parquet"),
        (["a.tar", "b.tar"], shard, ""),
        (["a.tar.gz"], lambda: shard("w:gz"), "/a.tar.gz"),
        ([f"{n}.png" for n in range(9)], lambda: os.urandom(5000), ""),
    ],
    ids=["parquet", "glob", "tar", "tar.gz", "pictures"],
)
def test_rows_are_read_once_however_often_their_store_fails(
    server: Server, middle: Flaky, names: list[str], data: Callable[[], bytes], uri: str
) -> None:
    bucket = server.new_bucket()
    for name in names:
        server.files().pipe_file(f"{bucket}/in/{name}", data())
    calm = read(f"{bucket}/in{uri}", part_rows=7)
    for trouble in (Trouble.CUT_ANSWER, Trouble.LOSE_ANSWER, Trouble.STATUS):
        middle.inject(Fault(trouble, times=4, share=0.5, code="ServiceUnavailable"))
    harried = read(f"{bucket}/in{uri}", part_rows=7)
    assert len(middle.happened) >= 6
    assert harried.equals(calm)
    assert len(set(ids(harried))) == harried.num_rows > 0


@pytest.mark.long
def test_a_store_that_is_killed_under_a_reader_and_a_writer_costs_time_alone(s3: Server) -> None:
    bucket = s3.new_bucket()
    s3.files().pipe_file(f"{bucket}/in/a.parquet", parquet())
    calm = read(f"{bucket}/in", part_rows=5)
    parts = streamed(f"{bucket}/in")
    found = [next(parts)]
    s3.kill()
    with ThreadPoolExecutor(2) as pool:
        rest = pool.submit(list, parts)
        put = pool.submit(Store(f"{bucket}/out").put, "x", b"1")
        s3.start()
        found.extend(rest.result(timeout=200))
        put.result(timeout=200)
    assert pa.concat_tables(found).equals(calm)
    assert Store(f"{bucket}/out").get("x") == b"1"


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (Fault(Trouble.STATUS, times=OFTEN, status=503), r"the store is throttling, and was tried for 1 seconds"),
        (Fault(Trouble.STATUS, times=OFTEN, status=429), r"the store is throttling, and was tried for 1 seconds"),
        (Fault(Trouble.STATUS, times=OFTEN, status=500, code="InternalError"), "the store fails, and was tried for"),
        (Fault(Trouble.LOSE_ANSWER, times=OFTEN), "the store fails, and was tried for 1 seconds"),
        (Fault(Trouble.STATUS, times=OFTEN, status=507, code="XMinioStorageFull"), "there is no space left .*; make"),
        (Fault(Trouble.STATUS, times=OFTEN, status=403, code="AccessDenied"), "access is denied .*; check the cred"),
    ],
    ids=["503", "429", "500", "lost", "507", "403"],
)
def test_what_lasts_ends_in_one_line(s3: Server, impatient: None, fault: Fault, line: str) -> None:
    bucket = s3.new_bucket()
    s3.files().pipe_file(f"{bucket}/in/a.txt", b"a prompt")
    listing = list_files(f"{bucket}/in")
    with flaky(s3.endpoint) as middle, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", middle.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        middle.inject(fault)
        with pytest.raises(SinkError, match=line) as sink:
            Store(f"{bucket}/out").put("x", b"1")
        with pytest.raises(SourceError, match=line) as source:
            list_files(f"{bucket}/in")
    s3fs.S3FileSystem.clear_instance_cache()
    assert listing.files[0].name == "a.txt"
    for error in (sink, source):
        assert str(error.value).startswith(bucket)
        assert len(str(error.value).splitlines()) == 1


def test_a_bucket_that_vanished_is_not_the_rows_fault(server: Server) -> None:
    bucket = server.new_bucket()
    server.files().pipe_file(f"{bucket}/in/a.png", b"1")
    (fragment,) = described(f"{bucket}/in", format="images").fragments
    server.files().rm(f"{bucket}/in/a.png")
    assert next(fragment.read(4))["image"].to_pylist() == [{"bytes": None, "path": "a.png"}]
    server.remove_bucket(bucket)
    with pytest.raises(SourceError, match="this bucket is gone"):
        next(fragment.read(4))


def test_a_folder_marker_is_no_file(server: Server) -> None:
    bucket = server.new_bucket()
    for name in ("in/", "in/sub/", "in/sub/a.png"):
        server.files().pipe_file(f"{bucket}/{name}", b"")
    assert [file.name for file in list_files(f"{bucket}/in/").files] == ["sub/a.png"]


def test_a_subfolder_that_can_t_be_listed_is_not_left_out() -> None:
    """Root may list everything, so it becomes nobody, once it has loaded what nobody may not be allowed to read."""
    program = """
import os, sys
from jobs.sources.files import list_files
from operators.errors import SourceError

def told(uri):
    try:
        return [file.name for file in list_files(uri).files]
    except SourceError as error:
        return str(error)

told(sys.argv[1]), told(sys.argv[1] + "/nothing")
if os.getuid() == 0:
    os.setuid(65534)
print(told(sys.argv[1]))
"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        Path(folder, "a.png").write_bytes(b"1")
        closed = Path(folder, "sub")
        closed.mkdir(mode=0)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True, env=environment
        )
        closed.chmod(0o755)
    assert "access is denied" in done.stdout


def test_a_file_s_version_changes_with_it(server: Server) -> None:
    uri = server.new_bucket()
    for data in (b"1", b"1", b"2"):
        server.files().pipe_file(f"{uri}/a", data)
        server.files().pipe_file(f"{uri}/b", b"b")
    first = [file.version for file in list_files(uri).files]
    server.files().pipe_file(f"{uri}/a", b"3")
    second = [file.version for file in list_files(uri).files]
    assert (first[0] != second[0], first[1] == second[1]) == (True, True)


def test_a_file_that_is_replaced_while_it_is_read_is_an_error(server: Server) -> None:
    uri = server.new_bucket()
    server.files().pipe_file(f"{uri}/a.parquet", parquet())
    parts = streamed(uri)
    next(parts)
    server.files().pipe_file(f"{uri}/a.parquet", parquet())
    with pytest.raises(SourceError, match=r"a\.parquet: (it has changed since|somebody else changed this)"):
        list(parts)


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from jobs.stores.store import Store
from operators.errors import SinkError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    Store(sys.argv[1]).put("data/x", bytes(1 << 20))
except SinkError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.startswith(f"{tmp_path}: there is no space left ([Errno 27] File too large")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
