from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.errors import RowError, SourceError
from operators.images import decode_all
from tests.jobs.reading import described, ids, read
from tests.jobs.test_sources_webdataset import samples, shard
from tests.photos import Photos
from tests.servers import GCSServer


def test_a_folder_of_photographs(gcs: GCSServer, photos: Photos) -> None:
    uri = gcs.new_bucket()
    gcs.files().put(f"{photos.folder}/", f"{uri}/photos/", recursive=True)
    found = read(f"{uri}/photos/")
    assert ids(found) == sorted([*photos.good, *photos.bad])
    codes = [outcome.code for outcome in decode_all(found["image"]) if isinstance(outcome, RowError)]
    assert codes == [photos.bad[name] for name in sorted(photos.bad)]
    assert described(f"{uri}/photos/").uri == f"{uri}/photos"


def test_parquet_with_paths(gcs: GCSServer) -> None:
    uri = gcs.new_bucket()
    files = gcs.files()
    files.pipe_file(f"{uri}/set/pics/1.jpg", b"one")
    paths = ["pics/1.jpg", f"{uri}/set/pics/1.jpg", "pics/2.jpg", None]
    data = io.BytesIO()
    pq.write_table(pa.table({"image": paths, "n": [1, 2, 3, 4]}), data, row_group_size=2)
    files.pipe_file(f"{uri}/set/a.parquet", data.getvalue())
    found = read(f"{uri}/set")
    assert [row and row["bytes"] for row in found["image"].to_pylist()] == [b"one", b"one", None, None]
    assert ids(read(f"{uri}/set/*.parquet", limit=3)) == ["a.parquet#0", "a.parquet#1", "a.parquet#2"]


def test_shards(gcs: GCSServer, tmp_path: Path) -> None:
    uri = gcs.new_bucket()
    gcs.files().put_file(str(shard(tmp_path / "0.tar", samples(0, 6))), f"{uri}/0.tar")
    assert ids(read(uri)) == [f"0.tar#{n:03d}" for n in range(6)]
    assert described(uri, limit=5).rows == 5


def test_mistakes_are_one_clear_line(gcs: GCSServer) -> None:
    uri = gcs.new_bucket()
    for wrong in ("gs://no-such-bucket/x", f"{uri}/nowhere/"):
        with pytest.raises(SourceError, match=f"{wrong.rstrip('/')}/?: there is nothing here; check the path"):
            described(wrong)
