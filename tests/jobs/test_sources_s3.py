from __future__ import annotations

import io
import pickle
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from operators import columns
from operators.errors import RowError, SourceError
from operators.images import decode_all
from tests.jobs.reading import described, ids, read
from tests.jobs.test_sources_webdataset import samples, shard
from tests.photos import Photos
from tests.servers import S3Server


def test_a_folder_of_photographs(s3: S3Server, photos: Photos) -> None:
    uri = s3.new_bucket()
    s3.files().put(f"{photos.folder}/", f"{uri}/photos/", recursive=True)
    found = read(f"{uri}/photos/")
    assert ids(found) == sorted([*photos.good, *photos.bad])
    codes = [outcome.code for outcome in decode_all(found["image"]) if isinstance(outcome, RowError)]
    assert codes == [photos.bad[name] for name in sorted(photos.bad)]
    assert described(f"{uri}/photos/").uri == f"{uri}/photos"


def test_parquet_with_paths(s3: S3Server) -> None:
    uri = s3.new_bucket()
    files = s3.files()
    files.pipe_file(f"{uri}/set/pics/1.jpg", b"one")
    paths = ["pics/1.jpg", f"{uri}/set/pics/1.jpg", "pics/2.jpg", None]
    data = io.BytesIO()
    pq.write_table(pa.table({"image": paths, "n": [1, 2, 3, 4]}), data, row_group_size=2)
    files.pipe_file(f"{uri}/set/a.parquet", data.getvalue())
    found = read(f"{uri}/set")
    assert found.schema.field("image").type == columns.IMAGE
    assert [row and row["bytes"] for row in found["image"].to_pylist()] == [b"one", b"one", None, None]
    assert ids(read(f"{uri}/set/*.parquet", limit=3)) == ["a.parquet#0", "a.parquet#1", "a.parquet#2"]


def test_shards(s3: S3Server, tmp_path: Path) -> None:
    uri = s3.new_bucket()
    s3.files().put_file(str(shard(tmp_path / "0.tar", samples(0, 6))), f"{uri}/0.tar")
    assert ids(read(uri)) == [f"0.tar#{n:03d}" for n in range(6)]
    assert described(uri, limit=5).rows == 5


def test_new_files_are_seen(s3: S3Server) -> None:
    uri = s3.new_bucket()
    s3.files().pipe_file(f"{uri}/in/a.jpg", b"a")
    assert ids(read(f"{uri}/in")) == ["a.jpg"]
    s3.files().pipe_file(f"{uri}/in/b.jpg", b"b")
    assert ids(read(f"{uri}/in")) == ["a.jpg", "b.jpg"]


def test_mistakes_are_one_clear_line(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = s3.new_bucket()
    with pytest.raises(
        SourceError, match=r"s3://no-such-bucket/x: there is no such bucket, or no longer; check its name"
    ):
        described("s3://no-such-bucket/x")
    with pytest.raises(SourceError, match="there is nothing here"):
        described(f"{uri}/nowhere/")
    with pytest.raises(SourceError, match="there are no files here"):
        described(uri)
    for name, value in {"AWS_SECRET_ACCESS_KEY": "wrong", "AWS_ACCESS_KEY_ID": "nobody"}.items():
        monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(SourceError, match=r"access is denied .*; check the credentials and the rights") as caught:
            described(f"{uri}/photos/")
        assert "\n" not in str(caught.value)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_worker_without_rights_rejects_no_rows(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = s3.new_bucket()
    s3.files().pipe_file(f"{uri}/in/a.jpg", b"a")
    sent = pickle.dumps(described(f"{uri}/in").fragments)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    (fragment,) = pickle.loads(sent)
    with pytest.raises(SourceError, match=r"a\.jpg: access is denied"):
        list(fragment.read(4))
    s3fs.S3FileSystem.clear_instance_cache()


def test_no_credentials_at_all(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = s3.new_bucket()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    began = time.monotonic()
    with pytest.raises(SourceError, match="redentials"):
        described(f"{uri}/photos/")
    assert time.monotonic() - began < 30
    s3fs.S3FileSystem.clear_instance_cache()
