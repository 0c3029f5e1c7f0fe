"""A run that goes on reads what is new, and nothing of what is done."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs import Job
from tests.ray.datasets import outcomes, rows


def shard(path, keys):
    with tarfile.open(path, "w") as tar:
        for key in keys:
            info = tarfile.TarInfo(f"{key:05d}.txt")
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))


def zeroed(path: Path, keep: int = 0) -> None:
    """Nothing but zeros up to the last ``keep`` bytes, and no sign of a change."""
    size, stat = path.stat().st_size, path.stat()
    path.write_bytes(bytes(size - keep) + path.read_bytes()[size - keep :])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def footer(path: Path) -> int:
    return pq.read_metadata(path).serialized_size + 8


def test_parquet_files_that_are_done_are_not_read(cluster, tmp_path):
    source, sink = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    steps = [{"generate": {"steps": 2}}]
    job = {"source": str(source), "steps": steps, "sink": {"uri": str(sink), "part_rows": 3}, "max_rejects": 4}
    prompts = pa.table({"prompt": pa.array(["a red circle on a blue background", None])})
    for name in "ab":
        pq.write_table(prompts, source / f"{name}.parquet")
    first = Job.model_validate(job).run()
    assert (first.rows_before, first.rows_in, first.rows_out, sum(first.rejected.values())) == (0, 4, 2, 2)

    for name in "ab":
        zeroed(source / f"{name}.parquet", footer(source / f"{name}.parquet"))
    pq.write_table(prompts, source / "c.parquet")
    second = Job.model_validate(job).run()
    assert (second.rows_in, second.rows_out, sum(second.rejected.values())) == (2, 1, 1)
    assert (second.rows_before, second.not_rejected_before, second.rejected_before) == (4, 2, 2)
    assert second.rejected_of_all() == (3, 6)
    assert rows(sink)["row_id"].tolist() == [f"{name}.parquet#0" for name in "abc"]


def test_shards_that_are_done_are_not_read_and_one_that_grew_is(cluster, tmp_path):
    source, sink = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    job = Job(source=str(source), steps=[], sink={"uri": str(sink), "part_rows": 4})
    for number in range(3):
        shard(source / f"{number}.tar", range(10))
    assert job.run().rows_in == 30

    zeroed(source / "1.tar")
    shard(source / "2.tar", range(13))
    shard(source / "3.tar", range(5))
    again = job.run()
    assert (again.rows_before, again.rows_in) == (30, 8)
    assert len(outcomes(sink)) == outcomes(sink)["source_id"].nunique() == 38
