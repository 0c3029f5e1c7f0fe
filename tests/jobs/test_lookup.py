"""Source rows by their ids, with little else read."""

from __future__ import annotations

import io
import tarfile

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.sources import SourceSpec
from jobs.sources.lookup import lookup
from operators import columns
from operators.images import encode_all
from operators.models.builtin.scenes import draw, scene
from tests.jobs.reading import read

PICTURES = encode_all(draw([scene(number, 2) for number in range(8)]))


def parquet(folder):
    for name in "ab":
        table = pa.table({"sku": [f"{name}{n}" for n in range(8)], "image": pa.array(PICTURES, columns.IMAGE)})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=3)


def pictures(folder):
    for number, picture in enumerate(PICTURES.to_pylist()):
        (folder / f"{number}.png").write_bytes(picture["bytes"])


def shards(folder):
    for name in "ab":
        with tarfile.open(folder / f"{name}.tar", "w") as shard:
            for number, picture in enumerate(PICTURES.to_pylist()):
                entry = tarfile.TarInfo(f"{number}.png")
                entry.size = len(picture["bytes"])
                shard.addfile(entry, io.BytesIO(picture["bytes"]))


def prompts(folder):
    (folder / "prompts.txt").write_text("a\n\nb\nc\n")


def table(folder):
    lance.write_dataset(pa.table({"n": range(8)}), str(folder / "data.lance"))


@pytest.mark.parametrize("write", [parquet, pictures, shards, prompts, table])
def test_rows_are_those_of_the_whole_source(tmp_path, write):
    write(tmp_path)
    everything = read(tmp_path)
    ids = everything["source_id"].to_pylist()
    wanted = [ids[1], ids[-1]]
    found = lookup(SourceSpec(uri=str(tmp_path), limit=1), [*wanted, "missing", "a.parquet#99"])
    assert found.sort_by("source_id").to_pylist() == [
        row for row in everything.to_pylist() if row["source_id"] in wanted
    ]
    assert lookup(SourceSpec(uri=str(tmp_path)), ["missing"]).num_rows == 0


def test_a_column_that_identifies_rows_finds_them(tmp_path):
    parquet(tmp_path)
    found = lookup(SourceSpec(uri=str(tmp_path), id="sku"), ["b3"])
    assert found["sku"].to_pylist() == ["b3"]


def test_files_that_no_id_starts_with_are_not_opened(tmp_path):
    parquet(tmp_path)
    pictures(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"no Parquet")
    assert lookup(SourceSpec(uri=str(tmp_path), format="parquet"), ["b.parquet#4"])["sku"].to_pylist() == ["b4"]
