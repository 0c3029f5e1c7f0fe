from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from operators import columns
from operators.errors import SourceError
from tests.jobs.reading import described, ids, read, tables


def shard(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def samples(first: int, count: int) -> dict[str, bytes]:
    return {
        f"{n:03d}.{ending}": f"{ending} {n}".encode()
        for n in range(first, first + count)
        for ending in ("jpg", "txt", "json")
    }


def test_samples_are_rows(tmp_path: Path) -> None:
    shard(tmp_path / "00000.tar", samples(0, 5))
    shard(tmp_path / "00001.tar", samples(5, 3))
    found = read(tmp_path)
    assert ids(found) == [f"00000.tar#{n:03d}" for n in range(5)] + [f"00001.tar#{n:03d}" for n in range(5, 8)]
    assert found.column_names == ["source_id", "image", "json", "txt"]
    assert found.schema.field("image").type == columns.IMAGE
    assert found["image"].to_pylist()[6] == {"bytes": b"jpg 6", "path": "006.jpg"}
    assert found["txt"].to_pylist() == [f"txt {n}" for n in range(8)]
    assert found["json"].to_pylist()[7] == "json 7"
    assert described(tmp_path).rows is None


@pytest.mark.parametrize("limit", [1, 4, 5, 6, 99])
def test_limit_counts_samples(tmp_path: Path, limit: int) -> None:
    shard(tmp_path / "00000.tar", samples(0, 5))
    shard(tmp_path / "00001.tar", samples(5, 3))
    found = described(tmp_path, limit=limit)
    assert found.rows == min(limit, 8)
    assert len(found.fragments) == (1 if limit <= 5 else 2)
    assert sum(table.num_rows for table in tables(found)) == min(limit, 8)


def test_names_are_split_as_webdataset_does(tmp_path: Path) -> None:
    path = shard(
        tmp_path / "a.tar",
        {
            "./v1.0/cat.PNG": b"p",
            "./v1.0/cat.mask.png": b"m",
            "./v1.0/cat.cls": b"3",
            "./v1.0/cat.npy": b"\x93",
            "./v1.0/._cat.png": b"mac",
            "./v1.1/cat.webp": b"w",
            "./v1.1/cat.cls": "ü\xff".encode("latin-1"),
        },
    )
    found = read(path)
    assert ids(found) == ["a.tar#v1.0/cat", "a.tar#v1.1/cat"]
    assert found.column_names == ["source_id", "image", "cls", "mask.png", "npy"]
    assert found["mask.png"].to_pylist() == [{"bytes": b"m", "path": "v1.0/cat.mask.png"}, None]
    assert found["npy"].to_pylist() == [b"\x93", None]
    assert found["cls"].to_pylist() == ["3", "��"]
    assert [row["bytes"] for row in found["image"].to_pylist()] == [b"p", b"w"]


def test_compressed_shards_and_projection(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar.gz", samples(0, 3), "w:gz")
    found = read(tmp_path, columns={"image": "image", "caption": "txt"}, limit=2)
    assert found.column_names == ["source_id", "image", "caption"]
    assert found["caption"].to_pylist() == ["txt 0", "txt 1"]


def test_shards_that_are_wrong(tmp_path: Path) -> None:
    twice = shard(tmp_path / "a.tar", {"k.jpg": b"1", "k.png": b"2"})
    with pytest.raises(
        SourceError, match="sample 'k' has two files for the column 'image'; give one a name of its own"
    ):
        described(twice)
    scattered = shard(tmp_path / "b.tar", {"k.jpg": b"1", "l.jpg": b"2", "k.txt": b"3"})
    with pytest.raises(SourceError, match=r"two rows have the id 'b\.tar#k'"):
        read(scattered)
    with pytest.raises(SourceError, match="the shard is empty"):
        described(shard(tmp_path / "c.tar", {}))
    (tmp_path / "d.tar").write_bytes(b"not a tar file at all" * 100)
    with pytest.raises(SourceError, match=r"d\.tar: it is no whole tar file"):
        described(tmp_path / "d.tar")
    whole = shard(tmp_path / "e.tar", {f"{n}.jpg": bytes(2000) for n in range(40)}).read_bytes()
    (tmp_path / "e.tar").write_bytes(whole[:52_000])
    with pytest.raises(SourceError, match=r"e\.tar: it is no whole tar file"):
        read(tmp_path / "e.tar")


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
@pytest.mark.parametrize("share", [0.3, 0.501, 0.8])
def test_a_cut_shard_loses_no_rows_in_silence(tmp_path: Path, ending: str, share: float) -> None:
    path = shard(tmp_path / f"f.{ending}", samples(0, 500), "w:gz" if ending == "tar.gz" else "w")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match=r"f\.tar.*: it is no whole tar file"):
        read(path)
    with pytest.raises(SourceError, match=r"f\.tar.*: it is no whole tar file"):
        described(path, limit=500)
