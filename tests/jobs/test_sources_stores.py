"""Sources on object stores: the same over Amazon's protocol and Google's, on real servers."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators import columns
from operators.errors import RowError
from operators.images import decode_all
from tests.jobs.reading import described, ids, read
from tests.jobs.test_sources_webdataset import samples, shard
from tests.photos import Photos
from tests.servers import GCSServer, S3Server

Server = S3Server | GCSServer


@pytest.fixture(params=["s3", "gcs"])
def store(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def test_a_folder_of_photographs(store: Server, photos: Photos) -> None:
    uri = store.new_bucket()
    store.files().put(f"{photos.folder}/", f"{uri}/photos/", recursive=True)
    found = read(f"{uri}/photos/")
    assert ids(found) == sorted([*photos.good, *photos.bad])
    codes = [outcome.code for outcome in decode_all(found["image"]) if isinstance(outcome, RowError)]
    assert codes == [photos.bad[name] for name in sorted(photos.bad)]
    assert described(f"{uri}/photos/").uri == f"{uri}/photos"


def test_parquet_with_paths(store: Server) -> None:
    uri = store.new_bucket()
    files = store.files()
    files.pipe_file(f"{uri}/set/pics/1.jpg", b"one")
    paths = ["pics/1.jpg", f"{uri}/set/pics/1.jpg", "pics/2.jpg", None]
    data = io.BytesIO()
    pq.write_table(pa.table({"image": paths, "n": [1, 2, 3, 4]}), data, row_group_size=2)
    files.pipe_file(f"{uri}/set/a.parquet", data.getvalue())
    found = read(f"{uri}/set")
    assert found.schema.field("image").type == columns.IMAGE
    assert [row and row["bytes"] for row in found["image"].to_pylist()] == [b"one", b"one", None, None]
    assert ids(read(f"{uri}/set/*.parquet", limit=3)) == ["a.parquet#0", "a.parquet#1", "a.parquet#2"]


def test_shards(store: Server, tmp_path: Path) -> None:
    uri = store.new_bucket()
    store.files().put_file(str(shard(tmp_path / "0.tar", samples(0, 6))), f"{uri}/0.tar")
    assert ids(read(uri)) == [f"0.tar#{n:03d}" for n in range(6)]
    assert described(uri, limit=5).rows == 5


def test_new_files_are_seen(store: Server) -> None:
    uri = store.new_bucket()
    store.files().pipe_file(f"{uri}/in/a.jpg", b"a")
    assert ids(read(f"{uri}/in")) == ["a.jpg"]
    store.files().pipe_file(f"{uri}/in/b.jpg", b"b")
    assert ids(read(f"{uri}/in")) == ["a.jpg", "b.jpg"]
