from __future__ import annotations

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from operators import columns
from operators.errors import RowError, SourceError
from operators.images import decode_all
from tests.jobs.reading import described, ids, read
from tests.photos import Photos


def test_every_file_is_a_row_and_bad_ones_fail_as_rows(photos: Photos) -> None:
    found = read(photos.folder)
    assert found.schema.equals(pa.schema([("source_id", pa.string()), ("image", columns.IMAGE)]))
    assert ids(found) == sorted([*photos.good, *photos.bad])
    assert [row["path"] for row in found["image"].to_pylist()] == ids(found)
    outcomes = dict(zip(ids(found), decode_all(found["image"]), strict=True))
    codes = {name: outcome.code for name, outcome in outcomes.items() if isinstance(outcome, RowError)}
    assert codes == photos.bad


def test_fragments_are_parts_and_limit_cuts(photos: Photos) -> None:
    everything = sorted([*photos.good, *photos.bad])
    assert [fragment.rows for fragment in described(photos.folder, 10).fragments] == [10, 10, 3]
    for limit in (1, 10, 11, 99):
        assert ids(read(photos.folder, 10, limit=limit)) == everything[:limit]


def test_a_glob_and_a_single_picture(photos: Photos) -> None:
    assert ids(read(f"{photos.folder}/rocket*.jpg")) == [name for name in sorted(photos.good) if "rocket" in name]
    assert ids(read(photos.folder / "coffee.tiff")) == ["coffee.tiff"]
    assert ids(read(f"{photos.folder}/**/*.gif")) == ["moving/three.gif"]


def test_hidden_files_are_no_rows(tmp_path: Path) -> None:
    for name in ("a.jpg", ".DS_Store", "_index/b.jpg", ".cache/c.jpg", "d/e"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert ids(read(tmp_path)) == ["a.jpg", "d/e"]


def test_metadata_is_joined(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg", "sub/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    lines = [
        {"file_name": "b.jpg", "text": "bee", "n": 2},
        {"file_name": "gone.jpg", "text": "-"},
        {"file_name": "a.jpg"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "sub" / "metadata.csv").write_text("file_name,text\nd.jpg,dee\n")
    found = read(tmp_path)
    assert found.column_names == ["source_id", "image", "text", "n"]
    assert ids(found) == ["a.jpg", "b.jpg", "c.jpg", "gone.jpg", "sub/d.jpg"]
    assert found["text"].to_pylist() == [None, "bee", None, "-", "dee"]
    assert found["n"].to_pylist() == [None, 2, None, None, None]
    assert [row["bytes"] for row in found["image"].to_pylist()] == [b"a.jpg", b"b.jpg", b"c.jpg", None, b"sub/d.jpg"]
    assert read(tmp_path, columns={"picture": "image", "caption": "text"}).column_names == [
        "source_id",
        "picture",
        "caption",
    ]


def test_metadata_names_pictures_of_several_columns(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.mask.png", "b.mask.png", "c.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    lines = [
        {"mask_file_name": "a.mask.png", "n": 1, "file_name": "a.jpg"},
        {"mask_file_name": "b.mask.png", "n": 2, "file_name": None},
        {"mask_file_name": None, "n": 3, "file_name": None},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = read(tmp_path)
    assert found.column_names == ["source_id", "mask", "n", "image"]
    assert ids(found) == ["a.jpg", "b.mask.png", "c.jpg", "metadata.jsonl#2"]
    assert found["n"].to_pylist() == [1, 2, None, 3]
    shown = {name: [row and row["bytes"] for row in found[name].to_pylist()] for name in ("image", "mask")}
    assert shown["image"] == [b"a.jpg", None, b"c.jpg", None]
    assert shown["mask"] == [b"a.mask.png", b"b.mask.png", None, None]


def test_metadata_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    metadata = tmp_path / "metadata.jsonl"
    for content, message in {
        '{"name": "a.jpg"}': "there is no 'file_name' in it",
        '{"file_name": "a.jpg", "image": 1}': "the metadata has a column 'image'",
        '{"file_name": ': r"metadata\.jsonl: can't be read",
        '{"file_name": "a.jpg", "_error": 1}': "the column name '_error' is reserved",
    }.items():
        metadata.write_text(content)
        with pytest.raises(SourceError, match=message):
            described(tmp_path)


def test_a_fragment_carries_only_its_own_rows(tmp_path: Path) -> None:
    for n in range(200):
        (tmp_path / f"{n:04d}.jpg").write_bytes(b"x")
    whole = len(pickle.dumps(described(tmp_path, 200).fragments))
    assert len(pickle.dumps(described(tmp_path, 10).fragments[0])) < whole / 4
