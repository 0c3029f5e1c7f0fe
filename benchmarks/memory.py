"""Memory of the driver and of the workers at points of one run, in which rows of 2 KiB pass through a step (Linux).

What is counted is memory of the processes' own (RssAnon): the object store, whose size is fixed, is shared by all.

driver_mb_N    the driver's, when N rows have been committed
worker_mb_N    that of the largest of Ray's workers
workers_mb_N   that of all of them together; a reader ends when there is nothing left to read
growth_mb      how much more the first two are at the last point than at the first
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import common
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
PART_ROWS = 500
RUN = """
import sys
import benchmarks.common
from jobs import Job
from tests.faults.filtering import Thinned
sink = {"uri": sys.argv[2], "part_rows": int(sys.argv[4])}
summary = Job(source=sys.argv[1], steps=[Thinned(keep=100)], sink=sink).run()
assert summary.rows_out == int(sys.argv[3])
"""


def measure(quick: bool) -> dict[str, Any]:
    """MiB at every point."""
    points = [5_000, 10_000, 20_000] if quick else [20_000, 50_000, 100_000, 150_000, 200_000]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "rows.parquet", points[-1])
        arguments = [folder / "rows.parquet", folder / "sink", points[-1], PART_ROWS]
        with (folder / "log.txt").open("wb") as log:
            run = subprocess.Popen([sys.executable, "-c", RUN, *map(str, arguments)], cwd=ROOT, stderr=log)
        for rows in points:
            # Shortly before the end all processes are still there.
            wait(run, folder / "sink" / "_latentmill" / "outcomes", rows // PART_ROWS - 4)
            figures[f"driver_mb_{rows}"] = round(own(run.pid), 1)
            sizes = [own(worker) for worker in workers(run.pid)]
            figures[f"worker_mb_{rows}"] = round(max(sizes), 1)
            figures[f"workers_mb_{rows}"] = round(sum(sizes), 1)
        if run.wait():
            raise RuntimeError((folder / "log.txt").read_text()[-2000:])
    first, last = points[0], points[-1]
    grown = [figures[f"{who}_mb_{last}"] - figures[f"{who}_mb_{first}"] for who in ("driver", "worker")]
    return figures | {"growth_mb": [round(each, 1) for each in grown]}


def write(path: Path, rows: int) -> None:
    """A file of so many rows of 2 KiB."""
    rng = np.random.default_rng(0)
    payload = [rng.bytes(2048) for _ in range(256)]
    table = pa.table({"number": np.arange(rows), "payload": [payload[row % 256] for row in range(rows)]})
    pq.write_table(table, path, row_group_size=PART_ROWS)


def wait(run: subprocess.Popen[bytes], outcomes: Path, parts: int) -> None:
    """Until so many parts are committed."""
    while not outcomes.exists() or sum(1 for _ in outcomes.iterdir()) < parts:
        if run.poll() is not None:
            raise RuntimeError("the job ended early")
        time.sleep(0.05)


def workers(driver: int) -> Iterator[int]:
    """Ray's workers below a driver that started its own cluster."""
    for process in psutil.Process(driver).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if " ".join(process.cmdline()).startswith("ray::"):
                yield process.pid


def own(process: int) -> float:
    """MiB that a process shares with no other; 0 if it has gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = re.search(r"RssAnon:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    common.main(measure, __doc__)
