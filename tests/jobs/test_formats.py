"""What formats write, read by other people's libraries and by our own sources."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs import Job
from jobs.formats import FORMATS, SinkFormat, naming
from jobs.sink import ledger
from jobs.sink.ledger import Start
from jobs.sink.writer import Writer
from jobs.stores.store import Store
from operators import columns, tensors
from operators.errors import SinkError, SpecError
from operators.images import encode_all
from operators.models.builtin.scenes import draw, scene
from tests.jobs.reading import ids, read

FILE = ledger.file_key("")
IDS = ["cats/a.1.jpg", "part-3.parquet#17/edit.dog", "00007.tar#key/edit.dog", "日本", "ünï/" + "x" * 300, "-"]
BYTES_OF_NO_PICTURE = b"no picture"


def rows(first=0):
    """Six rows with all that makes formats stumble; what follows is lineage."""
    drawn = draw([scene(n, first) for n in range(6)])
    image = encode_all(drawn).to_pylist()
    image[1] = None
    image[2] = {"bytes": BYTES_OF_NO_PICTURE, "path": "x.jpg"}
    mask = encode_all(drawn, "webp").to_pylist()
    mask[0] = None
    own = {
        "image": pa.array(image, columns.IMAGE),
        "Mask": pa.array(mask, columns.IMAGE),
        "caption": pa.array(["a\nb", None, "", "d", "é", '"'], pa.string()),
        "n": pa.array([1, None, 3, 4, 5, 6], pa.int16()),
        "score": pa.array([0.1, float("nan"), float("-inf"), 1.0, None, 2.5], pa.float32()),
        "kind": pa.array(["a", "b", None, "a", "a", "b"]).dictionary_encode(),
        "nothing": pa.nulls(6),
        "nested": pa.array(
            [{"a": [1, None], "b": "x"}, None] * 3, pa.struct([("a", pa.list_(pa.int8())), ("b", pa.string())])
        ),
        "blob": pa.array([b"\0\xff", None, b"", b"x", b"y", b"z"], pa.binary()),
        "latents": pa.concat_arrays(
            [tensors.pack([np.full((4, n + 1, 2), n / 3, np.float16) for n in range(5)]), pa.nulls(1, columns.TENSOR)]
        ),
    }
    count = len(IDS)
    lineage = {
        "row_id": [f"{first}/{name}" for name in IDS],
        "source_id": [f"{first}/{name}" for name in IDS],
        "source_uri": ["s3://in/"] * count,
        "content_hash": ["0"] * count,
        "run_id": ["run"] * count,
        "plan_fingerprint": ["plan"] * count,
        "row_seed": range(count),
    }
    fields = [pa.field(name, values.type) for name, values in own.items()]
    schema = columns.with_features(pa.schema([*fields, *columns.LINEAGE], {b"latentmill": b"1"}))
    return pa.table([*own.values(), *(pa.array(v, columns.LINEAGE.field(k).type) for k, v in lineage.items())], schema)


def written(sink, format_, *tables):
    """A sink with one part for every table, none of whose rows failed."""
    store = Store.at(str(sink))
    start = Start("run", "plan")
    epoch = ledger.claim(store, start, ledger.check(store, start))
    ledger.settle(epoch, start)
    for table in tables:
        in_flight = table.append_column("_error", pa.nulls(table.num_rows, columns.ERROR_TYPE))
        in_flight = in_flight.append_column("_kept", pa.array([True] * table.num_rows))
        in_flight = in_flight.append_column("_version", pa.array([0] * table.num_rows))
        Writer(epoch, table.schema, FORMATS[format_]).commit(in_flight, FILE, {})
    return epoch


def comparable(table):
    """Rows by id; of pictures the bytes alone, since paths are the format's."""

    def plain(name, value):
        if isinstance(value, dict) and "bytes" in value:
            return value["bytes"]
        return repr(value)

    return {row["row_id"]: {name: plain(name, value) for name, value in row.items()} for row in table.to_pylist()}


def data_of(value):
    return None if value == "None" else value


def own(row):
    return json.dumps([str(value) for name, value in sorted(row.items()) if name != "row_id"])


@pytest.mark.parametrize("format_", SinkFormat)
def test_what_is_written_is_read_back_with_types_and_values(tmp_path, format_):
    table = rows()
    epoch = written(tmp_path, format_, table)
    kept = FORMATS[format_]
    (name,) = Store.at(str(tmp_path)).names(kept.folder)
    assert ledger.stem(name) == ledger.stem(ledger.committed(epoch.store)[0])
    back = pa.Table.from_batches(kept.batches(epoch.store, name))
    assert back.schema.equals(table.schema)
    assert format_ is SinkFormat.LANCE or back.schema.metadata == table.schema.metadata
    assert comparable(back) == comparable(table)
    only = pa.Table.from_batches(kept.batches(epoch.store, name, ["row_id", "Mask"]))
    assert sorted(only.column_names) == ["Mask", "row_id"]


@pytest.mark.parametrize("format_", [f for f in SinkFormat if f is not SinkFormat.LANCE])
def test_a_sink_is_the_source_of_another_job(tmp_path, format_):
    tables = [rows(), rows(7)]
    written(tmp_path, format_, *tables)
    found = read(tmp_path)
    assert found.schema.remove(0).equals(
        pa.schema([f for f in tables[0].schema if f.name not in columns.LINEAGE.names])
    )
    assert all(name.startswith("data/part-000001-") for name in ids(found))
    wanted = [row for table in tables for row in comparable(table.drop_columns(columns.LINEAGE.names[1:])).values()]
    given = comparable(found.rename_columns(["row_id", *found.column_names[1:]])).values()
    assert sorted(map(own, given)) == sorted(map(own, wanted))


def test_keys_are_safe_short_and_unique():
    keys = [naming.key(name) for name in [*IDS, "cats/a_1.jpg", "cats/a.1_jpg"]]
    assert len(set(keys)) == len(keys)
    assert all(key.isascii() and len(key) < 100 and not set(key) & set("./#") for key in keys)
    assert keys[0].startswith("cats_a_1_jpg-")


@pytest.mark.parametrize("format_", SinkFormat)
def test_the_same_part_written_again_overwrites_itself(tmp_path, format_):
    written(tmp_path, format_, rows(), rows())
    store = Store.at(str(tmp_path))
    assert len(store.names(FORMATS[format_].folder)) == len(store.names(ledger.OUTCOMES)) == 1


def test_datasets_reads_an_imagefolder(tmp_path, monkeypatch):
    import datasets

    tables = [rows(), rows(7)]
    written(tmp_path / "sink", SinkFormat.IMAGEFOLDER, *tables)
    data = str(tmp_path / "sink" / "data")
    found = datasets.load_dataset("imagefolder", data_dir=data, split="train", cache_dir=str(tmp_path / "cache"))
    wanted = {**comparable(tables[0]), **comparable(tables[1])}
    assert found.num_rows == len(wanted)
    assert found.features["image"] == found.features["Mask"] == datasets.Image()
    assert found.features["n"] == datasets.Value("int16")
    for row in found.cast_column("image", datasets.Image(decode=False)).remove_columns("Mask"):
        picture = row["image"] and Path(row["image"]["path"]).read_bytes()
        assert picture == data_of(wanted[row["row_id"]]["image"])
        assert repr(row["caption"]) == wanted[row["row_id"]]["caption"]


def test_the_webdataset_library_reads_shards(tmp_path):
    import webdataset

    table = rows()
    written(tmp_path, SinkFormat.WEBDATASET, table)
    (shard,) = (tmp_path / "data").glob("*.tar")
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [naming.key(name) for name in table["row_id"].to_pylist()]
    wanted = list(comparable(table).values())
    assert [sample.get("png", sample.get("bin")) for sample in samples] == [data_of(row["image"]) for row in wanted]
    assert [sample.get("mask.webp") for sample in samples] == [data_of(row["Mask"]) for row in wanted]
    assert samples[4]["txt"].decode() == "é"
    told = json.loads(samples[3]["json"])
    assert (told["n"], told["kind"], told["nested"]) == (4, "a", None)
    assert np.load(io.BytesIO(samples[2]["latents.npy"])).shape == (4, 3, 2)


def test_datasets_reads_shards(tmp_path):
    import datasets

    table = rows().slice(3, 1)
    written(tmp_path / "sink", SinkFormat.WEBDATASET, table)
    files = str(tmp_path / "sink" / "data" / "*.tar")
    (given,) = datasets.load_dataset("webdataset", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert given["png"].size == (64, 64)
    assert given["txt"] == "d"
    assert given["json"]["n"] == 4


def test_the_picture_of_a_sample_is_the_first_where_none_is_called_image(tmp_path):
    table = rows().drop_columns("image").slice(4, 1)
    written(tmp_path, SinkFormat.WEBDATASET, table)
    with tarfile.open(next((tmp_path / "data").glob("*.tar"))) as shard:
        assert {name.partition(".")[2] for name in shard.getnames()} == {
            "",
            "webp",
            "txt",
            "blob.bin",
            "latents.npy",
            "json",
        }
    assert read(tmp_path)["Mask"].to_pylist()[0]["bytes"] == table["Mask"].to_pylist()[0]["bytes"]


@pytest.mark.parametrize(
    ("format_", "column", "message"),
    [
        (
            "webdataset",
            {"taken": pa.scalar(0, pa.timestamp("s"))},
            "webdataset can't hold the column 'taken' (timestamp[s])",
        ),
        ("webdataset", {"a": pa.scalar([b"x"])}, "webdataset can't hold the column 'a' (binary)"),
        ("webdataset", {"a/b": pa.scalar(1)}, "the column 'a/b' can't be part of a file's name"),
        ("webdataset", {"Image": pa.scalar(1)}, "the columns 'image' and 'Image' can't be told apart"),
        ("imagefolder", {"mask_file_name": pa.scalar("x")}, "would be taken for names of pictures"),
        ("lance", {"a.b": pa.scalar(1)}, "Lance can't hold a column with the name 'a.b'"),
    ],
)
def test_a_column_that_a_format_can_not_hold_is_refused_by_the_plan(tmp_path, format_, column, message):
    table = rows().select(["image"])
    for name, value in column.items():
        table = table.append_column(name, pa.array([value.as_py()] * 6, value.type))
    with pytest.raises(SpecError) as caught:
        Job(source=table, steps=[], sink={"uri": str(tmp_path), "format": format_}).plan()
    assert message in str(caught.value)


def test_imagefolder_needs_a_picture(tmp_path):
    with pytest.raises(SpecError, match="needs a column of pictures"):
        Job(source=pa.table({"n": [1]}), steps=[], sink={"uri": str(tmp_path), "format": "imagefolder"}).plan()


def test_another_format_on_the_same_sink_is_refused(tmp_path):
    written(tmp_path, SinkFormat.PARQUET, rows())
    store = Store.at(str(tmp_path))
    for mode in ledger.Mode:
        with pytest.raises(SinkError, match="stored as None; go on with that"):
            ledger.check(store, Start("run", "other", mode, {"format": "lance"}))


@pytest.mark.parametrize("format_", [f for f in SinkFormat if f is not SinkFormat.LANCE])
@pytest.mark.parametrize("place", ["local", "memory", "s3"])
def test_what_a_dead_run_left_is_swept(tmp_path, format_, place, request):
    uri = {"local": str(tmp_path / "sink"), "memory": f"memory://{tmp_path.name}/sink"}.get(place)
    uri = uri or f"{request.getfixturevalue('s3').new_bucket()}/sink"
    epoch = written(uri, format_, rows())
    kept = Store.at(uri).below("data")
    dead = f"part-000001-{FILE}-{'ab' * 10}"
    FORMATS[format_].write(epoch, dead, rows(3))
    assert len(Store.at(uri).below("data")) > len(kept)
    written(uri, format_)
    assert Store.at(uri).below("data") == kept
