"""What the engine costs: rows/s of a job over rows/s of the same operator in a bare loop, in one run.

Both caption the same rows at the same batch size and with as many threads. Neither counts the time in which libraries
and weights are loaded: the job counts from the first part's first step to the last commit, so the first parts' reading,
which goes on while weights load, is left out. The bare loop is measured before and after the job: machines are noisy.

ratio        (job rows/s) / (bare rows/s)
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import common
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from jobs import Job
from operators import Caption
from operators.images import encode_all
from operators.models.builtin.scenes import draw, scene

BATCH_ROWS = 16


def measure(quick: bool) -> dict[str, Any]:
    """The ratio and what it is made of."""
    rows = 1000 if quick else 2000
    table = pa.table({"image": encode_all(draw([scene(index, 9) for index in range(rows)]))})
    torch.set_num_threads(1)
    operator = Caption().load(batch_rows=BATCH_ROWS)
    operator(table[:BATCH_ROWS])
    before = bare(operator, table)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, Path(folder) / "rows.parquet", row_group_size=256)
        job = Job(
            source=f"{folder}/rows.parquet",
            steps=[Caption()],
            sink=f"{folder}/sink",
            resources={"caption": {"batch_rows": BATCH_ROWS, "threads": 1}},
        )
        working = job.run().working_seconds
    after = bare(operator, table)
    alone = (before + after) / 2
    return {
        "ratio": round(alone / working, 3),
        "rows": rows,
        "job_rows_per_second": round(rows / working, 1),
        "bare_rows_per_second": round(rows / alone, 1),
        "bare_before_and_after": [round(rows / before, 1), round(rows / after, 1)],
    }


def bare(operator: Any, table: pa.Table) -> float:
    """Seconds for all rows, a batch at a time."""
    began = time.perf_counter()
    for first in range(0, table.num_rows, BATCH_ROWS):
        operator(table[first : first + BATCH_ROWS])
    return time.perf_counter() - began


if __name__ == "__main__":
    common.main(measure, __doc__)
