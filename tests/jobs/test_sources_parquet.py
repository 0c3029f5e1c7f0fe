from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators import columns
from operators.errors import SourceError
from tests.jobs.reading import described, ids, read, tables

STAMP = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def write(path: Path, table: pa.Table | dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return path


def many_kinds() -> pa.Table:
    return pa.table(
        {
            "nested": pa.array([{"a": [1, None], "b": {"c": "x"}}, None, {"a": [], "b": None}]),
            "price": pa.array([decimal.Decimal("1.20"), None, decimal.Decimal("-3.00")], pa.decimal128(9, 2)),
            "at": pa.array([STAMP, None, STAMP], pa.timestamp("us", "Europe/Vienna")),
            "label": pa.array(["cat", None, "dog"]).dictionary_encode(),
            "long": pa.array(["a", None, "c"], pa.large_string()),
            "blob": pa.array([b"\0", None, b""], pa.large_binary()),
            "tags": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8())),
            "vector": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float16(), 2)),
            "small": pa.array([1, None, -1], pa.int8()),
            "day": pa.array([dt.date(2026, 1, 1), None, dt.date(1, 1, 1)]),
            "nothing": pa.nulls(3),
            "flag": pa.array([True, None, False]),
        }
    )


def test_columns_keep_name_type_order_and_value(tmp_path: Path) -> None:
    table = many_kinds()
    path = write(tmp_path / "kinds.parquet", table)
    found = read(path)
    assert found.drop_columns(["source_id"]).equals(pq.read_table(path))
    assert found.column_names == ["source_id", *table.column_names]
    assert found.schema.field("label").type == table.schema.field("label").type
    assert ids(found) == ["kinds.parquet#0", "kinds.parquet#1", "kinds.parquet#2"]


def test_ids_are_places_and_do_not_depend_on_the_cut(tmp_path: Path) -> None:
    for name, rows in {"b/part-1.parquet": 5, "part-0.parquet": 23, "a.parquet": 7}.items():
        write(tmp_path / name, {"n": list(range(rows))}, row_group_size=4)
    write(tmp_path / "_hidden.parquet", {"other": [1]})
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "notes.txt").write_text("hello")
    wanted = [f"a.parquet#{n}" for n in range(7)]
    wanted += [f"b/part-1.parquet#{n}" for n in range(5)] + [f"part-0.parquet#{n}" for n in range(23)]
    for part_rows in (1, 3, 6, 1000):
        found = read(tmp_path, part_rows)
        assert ids(found) == wanted
        assert found["n"].to_pylist() == [*range(7), *range(5), *range(23)]
    assert described(tmp_path).uri == f"file://{tmp_path}"
    assert ids(read(f"{tmp_path}/*.parquet")) == [f"a.parquet#{n}" for n in range(7)] + wanted[12:]


def test_row_groups_become_tables_of_the_asked_size(tmp_path: Path) -> None:
    labels = pa.array(["x", "y"] * 50).dictionary_encode()
    path = write(tmp_path / "a.parquet", {"n": list(range(100)), "label": labels}, row_group_size=7)
    found = described(path, 10)
    assert [fragment.rows for fragment in found.fragments] == [14] * 7 + [2]
    assert [table.num_rows for table in tables(found, 10)] == [10, 4] * 7 + [2]


@pytest.mark.parametrize("limit", [1, 4, 5, 9, 50])
def test_limit(tmp_path: Path, limit: int) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.parquet", {"n": [0, 1, 2, 3, 4, 5]}, row_group_size=3)
    everything = ids(read(tmp_path))
    assert ids(read(tmp_path, limit=limit)) == everything[:limit]
    assert described(tmp_path, limit=limit).rows == min(limit, 12)


def test_projection(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"n": [1, 2], "img": [b"x", b"y"], "sku": [7, 8]})
    assert read(path, columns=["sku", "n"]).column_names == ["source_id", "sku", "n"]
    found = read(path, columns={"image": "img", "number": "n", "again": "n"}, id="sku")
    assert found.column_names == ["source_id", "image", "number", "again"]
    assert ids(found) == ["7", "8"]
    assert found["image"].to_pylist() == [{"bytes": b"x", "path": None}, {"bytes": b"y", "path": None}]
    with pytest.raises(SourceError, match=r"there is no column 'nn'; there are 'n', 'img', 'sku'"):
        described(path, columns=["nn"])
    with pytest.raises(SourceError, match="there is no column 'SKU'"):
        described(path, id="SKU")


def test_pictures_in_every_form_become_one(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "1.jpg").write_bytes(b"one")
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "2.jpg").write_bytes(b"two")
    with fsspec.open("memory://pictures/3.jpg", "wb") as file:
        file.write(b"three")
    paths = ["pics/1.jpg", str(other / "2.jpg"), f"file://{other}/2.jpg", "memory://pictures/3.jpg"]
    gone = ["pics/9.jpg", "pics", "", "no-such-protocol://x", "x" * 5000, None]
    large = pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())])
    count = len(paths) + len(gone)
    table = pa.table(
        {
            "image": paths + gone,
            "inline": pa.array([b"in"] * (count - 1) + [None], pa.large_binary()),
            "polars": pa.array([{"path": "pics/1.jpg", "bytes": None}] * (count - 1) + [None], large),
            "plain": ["pics/1.jpg"] * count,
        }
    )
    path = write(tmp_path / "a.parquet", table, row_group_size=3)
    found = read(path, image_columns=["image", "inline", "polars"])
    assert [found.schema.field(name).type for name in ("image", "inline", "polars")] == [columns.IMAGE] * 3
    assert [row and row["bytes"] for row in found["image"].to_pylist()] == [
        b"one",
        b"two",
        b"two",
        b"three",
        *[None] * 6,
    ]
    assert [row and row["path"] for row in found["image"].to_pylist()] == paths + gone
    assert found["image"].null_count == 1
    assert found["inline"].to_pylist() == [{"bytes": b"in", "path": None}] * (count - 1) + [None]
    assert found["polars"].to_pylist() == [{"bytes": b"one", "path": "pics/1.jpg"}] * (count - 1) + [None]
    assert found["plain"].to_pylist() == ["pics/1.jpg"] * count
    assert read(path).schema.field("image").type == columns.IMAGE
    assert read(path).schema.field("inline").type == pa.large_binary()
    assert read(path, image_columns=[]).schema.field("image").type == pa.string()


def test_hugging_face_pictures_are_left_as_they_are(tmp_path: Path) -> None:
    schema = columns.with_features(pa.schema([("image", columns.IMAGE), ("n", pa.int64())]))
    rows = [{"bytes": b"x", "path": "a.jpg"}, {"bytes": b"", "path": None}, None, {"bytes": None, "path": None}]
    path = write(tmp_path / "a.parquet", pa.table([pa.array(rows, columns.IMAGE), [1, 2, 3, 4]], schema=schema))
    found = described(path)
    assert found.schema.metadata is None
    assert pa.concat_tables(tables(found))["image"].to_pylist() == rows


def test_image_columns_that_can_hold_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"n": [1], "image": [2]})
    assert read(path)["image"].to_pylist() == [2]
    with pytest.raises(SourceError, match="'n' is int64, but pictures are bytes, paths or URIs"):
        described(path, image_columns=["n"])
    with pytest.raises(SourceError, match="names 'img', which is no column; there are 'n', 'image'"):
        described(path, image_columns=["img"])


def test_a_file_of_another_schema_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"n": [1], "m": [1]})
    write(tmp_path / "b.parquet", {"m": [2], "n": ["x"]})
    with pytest.raises(SourceError, match=r"b\.parquet: column 'n' is string in b\.parquet, but int64 in a\.parquet"):
        described(tmp_path)
    assert read(tmp_path, columns=["m"])["m"].to_pylist() == [1, 2]
    write(tmp_path / "b.parquet", {"n": [1]})
    with pytest.raises(SourceError, match=r"column 'm' is missing in b\.parquet, but int64 in a\.parquet"):
        described(tmp_path)
    write(tmp_path / "b.parquet", {"n": [1], "m": [1], "o": [1]})
    with pytest.raises(SourceError, match=r"column 'o' is int64 in b\.parquet, but missing in a\.parquet"):
        described(tmp_path)


def test_own_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"sku": ["x", "y", None], "n": [1, 1, 3], "f": [1.0, 2.0, 3.0]})
    with pytest.raises(SourceError, match=r"the id column 'sku' is null in a\.parquet#2"):
        read(path, id="sku")
    with pytest.raises(SourceError, match=r"two rows have the id '1'; the second is a\.parquet#1"):
        read(path, id="n")
    with pytest.raises(SourceError, match="the id column 'f' is double, but must hold text or integers"):
        described(path, id="f")
    assert ids(read(path, id="sku", limit=2)) == ["x", "y"]
    labels = write(tmp_path / "b.parquet", {"sku": pa.array(["x", "y"]).dictionary_encode()})
    assert ids(read(labels, id="sku")) == ["x", "y"]


def test_reserved_columns(tmp_path: Path) -> None:
    table = pa.table({"n": [1], "row_id": ["r"]})
    path = write(tmp_path / "a.parquet", table)
    with pytest.raises(SourceError, match="the column name 'row_id' is reserved; give it another with `columns"):
        described(path)
    assert read(path, columns={"n": "n", "old": "row_id"})["old"].to_pylist() == ["r"]
    ours = write(tmp_path / "ours.parquet", table.replace_schema_metadata({"latentmill": "1"}))
    assert read(ours).column_names == ["source_id", "n"]


def test_a_dataset_of_ours_is_its_accepted_rows(tmp_path: Path) -> None:
    write(tmp_path / "data" / "part-a.parquet", {"n": [1]})
    write(tmp_path / "rejects" / "part-a.parquet", {"n": [2]})
    write(tmp_path / "_latentmill" / "outcomes" / "part-a.parquet", {"m": [2]})
    assert ids(read(tmp_path)) == ["data/part-a.parquet#0"]


def test_empty_files_and_broken_ones(tmp_path: Path) -> None:
    empty = write(tmp_path / "a.parquet", pa.table({"n": pa.array([], pa.int64())}))
    assert described(empty).rows == 0
    assert tables(described(empty)) == []
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceError, match=r"b\.parquet: can't be read"):
        described(tmp_path)


def test_names_with_odd_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "a b#[1]?%20.parquet", {"n": [1]})
    assert ids(read(path)) == ["a b#[1]?%20.parquet#0"]
    assert ids(read(tmp_path)) == ["a b#[1]?%20.parquet#0"]


def test_a_relative_path_has_a_full_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "set" / "a.parquet", {"n": [1]})
    monkeypatch.chdir(tmp_path)
    found = described("set/")
    monkeypatch.chdir("/")
    assert found.uri == f"file://{tmp_path}/set"
    assert ids(pa.concat_tables(tables(found))) == ["a.parquet#0"]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("{here}/nowhere", "nowhere: there is nothing here; check the path"),
        ("{here}/nowhere/*.parquet", "there is nothing here"),
        ("{here}/empty", "empty: there are no files here"),
        ("{here}/data.bin", "the name doesn't tell the format; say it with `format`, one of parquet, images"),
        ("nosuch://x/y", "Protocol not known: nosuch; write a local path, or a URI such as s3://bucket/folder"),
        ("builtin:circles", "there is no such built-in source; there is builtin:shapes"),
        ("builtin:shapes?row=3", r"row: Extra inputs are not permitted; write builtin:shapes\?rows=100&seed=3"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path: Path, uri: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "data.bin").write_bytes(b"x")
    with pytest.raises(SourceError, match=message) as caught:
        described(uri.format(here=tmp_path))
    assert "\n" not in str(caught.value)


def test_a_wrong_format_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"a\.jpg: can't be read"):
        described(tmp_path, format="parquet")
    (tmp_path / "b.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"there are no files ending in \.parquet or \.pq here"):
        described(tmp_path, format="parquet")
