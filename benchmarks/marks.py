"""What it costs to tell where pictures come from: lineage and XMP in a job that generates, and signatures.

The job makes pictures of prompts with the built-in model, with its defaults, on one thread. What lineage and marks take
of it can't be seen in the difference of two jobs, which machines blur by more. So both are done once more with the
job's own rows and record, and timed: the columns that every row carries (content hash, seed, ids), written to Parquet
with the rows; the digests that every part tells; the run's record, as often as the job wrote it; and of every picture
the XMP packet, its way into the PNG, and what it adds to the writing of the part. Outcomes and commits are no lineage.

lineage_and_marks_percent   those seconds, of the seconds that the job's actor worked on the step
c2pa_ms                     signing a PNG of 512 x 512 pixels and noise like a photograph's, by ECDSA; a median
c2pa_with_parent_ms         the same, with another such PNG as ingredient
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

# The tests know how to make a certificate.
sys.path.insert(0, str(Path(__file__).parents[1]))

from jobs import Job
from jobs.pipeline.reader import Stamp
from jobs.stores.store import Store
from operators import Generate, columns
from operators.images import decode, encode
from operators.marks.credentials import Credentials
from operators.marks.marker import Marker, Marks
from operators.marks.metadata import with_xmp
from operators.marks.signing import read_chain, read_key
from operators.marks.xmp import SourceType
from operators.models.builtin.scenes import draw, scene
from tests.operators.certificates import chain

BATCH_ROWS = 16
STEP = "generate"


def measure(quick: bool) -> dict[str, Any]:
    """The figures and what they are made of."""
    with tempfile.TemporaryDirectory() as folder:
        lineage, marks, working = job_shares(Path(folder), 32 if quick else 128)
        alone, with_parent = signing(Path(folder), 20 if quick else 100)
    return {
        "lineage_and_marks_percent": round(100 * (lineage + marks) / working, 3),
        "lineage_percent": round(100 * lineage / working, 3),
        "marks_percent": round(100 * marks / working, 3),
        "job_seconds": round(working, 2),
        "c2pa_ms": round(alone, 2),
        "c2pa_with_parent_ms": round(with_parent, 2),
    }


def job_shares(folder: Path, rows: int) -> tuple[float, float, float]:
    """Seconds of lineage and of marks, and those that a job worked."""
    prompts = pa.table({"prompt": [scene(index, 9).caption for index in range(rows)]})
    sink = folder / "sink"
    resources = {STEP: {"batch_rows": BATCH_ROWS, "threads": 1}}
    summary = Job(source=prompts, steps=[Generate()], sink=str(sink), resources=resources).run()
    made = pa.concat_tables(pq.read_table(path) for path in sorted(sink.glob("data/*.parquet")))
    plain = made.drop_columns(columns.LINEAGE.names)
    source = prompts.append_column(columns.SOURCE_ID, made[columns.SOURCE_ID])
    stamp = Stamp("table", "run", "0" * 64, 0)
    (path,) = sink.glob("_latentmill/runs/*/run.json")
    record = json.loads(path.read_text())
    store = Store(str(folder / "record"))
    lineage = seconds(lambda: stamp.rows(source)) + seconds(lambda: parquet(made)) - seconds(lambda: parquet(plain))
    lineage += record["beat"] * seconds(lambda: store.put("run.json", json.dumps(record, indent=1).encode()))
    operator = Generate().load()
    lineage += rows / BATCH_ROWS * seconds(operator.digests)
    marker = Marker(Marks.FULL, Generate().model, *operator.digests().values())
    bare = [encode(decode(value)) for value in made["generated_image"].to_pylist()]
    marked = [with_xmp(data, mark.xmp or b"") for data, mark in zip(bare, told(marker, prompts), strict=True)]
    marks = seconds(lambda: [with_xmp(data, m.xmp or b"") for data, m in zip(bare, told(marker, prompts), strict=True)])
    marks += seconds(lambda: parquet(pa.table({"x": marked}))) - seconds(lambda: parquet(pa.table({"x": bare})))
    return lineage, marks, summary.steps[STEP].seconds


def told(marker: Marker, prompts: pa.Table) -> list[Any]:
    """The marks of all rows."""
    return marker(SourceType.GENERATED, prompts["prompt"].to_pylist())


def signing(folder: Path, times: int) -> tuple[float, float]:
    """Milliseconds for a picture, alone and with a parent."""
    certificate, key = chain(folder / "signer")
    read = read_chain(str(certificate))
    credentials = Credentials(read, read_key(read, str(key), None))
    picture, parent = (encode(grainy(pixels)) for pixels in draw([scene(1, 9), scene(2, 9)]))
    agent = {"name": "builtin:stable-diffusion"}
    sign = credentials.signed
    alone = [seconds(lambda: sign(picture, SourceType.GENERATED, agent), 1) for _ in range(times)]
    opened = [seconds(lambda: sign(picture, SourceType.EDITED, agent, parent), 1) for _ in range(times)]
    return 1000 * statistics.median(alone), 1000 * statistics.median(opened)


def grainy(pixels: Any) -> Image.Image:
    """A scene at 512 x 512 pixels, with noise that makes a file as large as a photograph's."""
    large = np.asarray(Image.fromarray(pixels).resize((512, 512)), np.float32)
    noise = np.random.default_rng(0).normal(0, 4, large.shape)
    return Image.fromarray((large + noise).clip(0, 255).astype(np.uint8))


def parquet(table: pa.Table) -> None:
    """Write a table as parts are."""
    pq.write_table(table, io.BytesIO())


def seconds(function: Callable[[], Any], times: int = 9) -> float:
    """The median of some calls."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    common.main(measure, __doc__)
