"""Peak resident memory of the driver process (Linux), for 1,000 and 100,000 rows that pass through without a step.

growth_mb    how much more the larger job took
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

RUN = """
import pathlib, re, sys
import benchmarks.common
from jobs import Job
summary = Job(source=sys.argv[1], steps=[], sink={"uri": sys.argv[2], "part_rows": 500}).run()
assert summary.rows_out == int(sys.argv[3])
status = pathlib.Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024)
"""


def measure(quick: bool) -> dict[str, Any]:
    """Peaks in MiB, each of a process of its own."""
    small, large = 1000, 20_000 if quick else 100_000
    peaks = {rows: peak(rows) for rows in (small, large)}
    return {
        f"peak_mb_{small}": round(peaks[small], 1),
        f"peak_mb_{large}": round(peaks[large], 1),
        "growth_mb": round(peaks[large] - peaks[small], 1),
    }


def peak(rows: int) -> float:
    """Run a job over so many rows of 2 KiB in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        payload = [rng.bytes(2048) for _ in range(256)]
        table = pa.table({"number": np.arange(rows), "payload": [payload[row % 256] for row in range(rows)]})
        pq.write_table(table, Path(folder) / "rows.parquet", row_group_size=500)
        arguments = [f"{folder}/rows.parquet", f"{folder}/sink", str(rows)]
        root = Path(__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", RUN, *arguments], cwd=root, capture_output=True, text=True, check=True
        )
        return float(done.stdout.split()[-1])


if __name__ == "__main__":
    common.main(measure, __doc__)
