"""A job that leaves out duplicates of its source and rows by an expression: the same rows, however it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from jobs import Job
from jobs.stores.store import Store
from jobs.verify import verify
from operators.images import Encoding, encode
from tests.ray.datasets import outcomes, rows


def photo(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)


def write(path: Path, pictures: list[bytes], first: int) -> None:
    numbers = range(first, first + len(pictures))
    pq.write_table(pa.table({"image": pictures, "number": numbers}), path)


def job(source: Path, sink: Path, part_rows: int) -> Job:
    return Job.model_validate(
        {
            "source": {"uri": str(source), "dedup": {"by": "perceptual"}},
            "steps": [{"filter": "number != 4 and width(image) >= 32"}],
            "sink": {"uri": str(sink), "part_rows": part_rows, "filtered": True},
            "max_rejects": 1,
        }
    )


def reasons(sink: Path) -> dict[str, Any]:
    filtered = rows(sink, "filtered")
    told = zip(filtered["_filtered_step"], filtered["_filtered_reason"], strict=True)
    return dict(zip(filtered["row_id"], told, strict=True))


def test_the_same_rows_are_left_out_whatever_parts_and_kills(cluster: str, tmp_path: Path) -> None:
    """Eight pictures, the same eight with losses in another file, and one that is broken."""
    source, sink = tmp_path / "in", tmp_path / "sink"
    source.mkdir()
    originals = [photo(seed) for seed in range(8)]
    write(source / "b.parquet", [encode(picture) for picture in originals], 0)
    write(source / "c.parquet", [encode(p, Encoding.JPEG, 70) for p in originals] + [b"broken"], 8)
    told = job(source, sink, 3).run()
    assert (told.rows_in, told.rows_out, told.filtered) == (17, 7, 9)
    assert (told.filtered_by, told.rejected) == ({"source.dedup": 8, "filter": 1}, {"image_undecodable": 1})
    expected = {f"c.parquet#{at}": ("source.dedup", f"looks like b.parquet#{at}") for at in range(8)}
    expected["b.parquet#4"] = ("filter", "number != 4 is false")
    assert reasons(sink) == expected
    kept = [f"b.parquet#{at}" for at in range(8) if at != 4]
    assert rows(sink)["row_id"].tolist() == kept
    assert outcomes(sink)["outcome"].value_counts().to_dict() == {"filtered": 9, "ok": 7, "rejected": 1}
    assert verify(Store.at(str(sink))).sound

    # As a kill leaves it: some parts are not committed, and what they wrote is there. And the source has grown since:
    # what comes before a row that is done doesn't take its place.
    for part in (sink / "_latentmill" / "outcomes").iterdir():
        if "b.parquet#0" not in pq.read_table(part)["source_id"].to_pylist():
            part.unlink()
    write(source / "a.parquet", [encode(originals[0], Encoding.WEBP, 80), encode(photo(99))], 20)
    again = job(source, sink, 5).run()
    assert (again.rows_before, again.rows_in) == (3, 16)
    assert reasons(sink) == expected | {"a.parquet#0": ("source.dedup", "looks like b.parquet#0")}
    assert rows(sink)["row_id"].tolist() == ["a.parquet#1", *kept]
    assert verify(Store.at(str(sink))).sound
