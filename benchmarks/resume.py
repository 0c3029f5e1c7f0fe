"""How long a run over ten million rows that are done takes to come to its first new one, and how much memory (Linux).

Twice: over 1,000 Parquet files, and over one series of scenes, which is one file to the sink. The outcomes of the done
rows are made here, object by object as a run writes them, and the data objects beside them are empty; the last 256 rows
of the source are new. The clock runs from the start of the process until the first new row is committed.

seconds      of the slower of the two runs
peak_gb      resident memory of whichever process had most at any time: driver, reader, committer, Ray's own
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from jobs import Job
from jobs.plan import Plan
from jobs.sink import ledger
from jobs.sink.holder import Holder
from jobs.sink.ledger import Start
from jobs.sink.writer import OUTCOME
from jobs.sources import Fragment
from jobs.stores.store import Store

PART_ROWS = 256
FILES = 1000
REJECTED = 3
"""Rows of every part."""

RUN = """
import sys
import benchmarks.common
from jobs import Job
summary = Job(source=sys.argv[1], steps=[], sink=sys.argv[2]).run()
assert summary.rows_in > 0, summary
assert summary.rows_before == int(sys.argv[3]), summary
assert summary.rejected_before == int(sys.argv[4]), summary
"""


def measure(quick: bool) -> dict[str, Any]:
    """Both runs, each in a process of its own."""
    rows = 300_000 if quick else 10_000_000
    figures: dict[str, Any] = {"rows": rows, "seconds": 0.0, "peak_gb": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        sources = {"files": files(Path(folder, "source"), rows), "series": f"builtin:shapes?rows={rows + PART_ROWS}"}
        for name, source in sources.items():
            seconds, peak = resumed(source, Path(folder, name))
            figures |= {f"{name}_seconds": round(seconds, 1), f"{name}_peak_gb": round(peak, 2)}
            figures["seconds"] = max(figures["seconds"], round(seconds, 1))
            figures["peak_gb"] = max(figures["peak_gb"], round(peak, 2))
    return figures


def files(folder: Path, rows: int) -> str:
    """A dataset of so many rows and 256 more, in a file that comes last."""
    folder.mkdir()
    numbers = np.arange(rows // FILES)
    for number in range(FILES):
        pq.write_table(pa.table({"number": numbers}), folder / f"{number:04d}.parquet")
    pq.write_table(pa.table({"number": numbers[:PART_ROWS]}), folder / "new.parquet")
    return str(folder)


def resumed(source: str, sink: Path) -> tuple[float, float]:
    """Seconds and GB of a run into a sink in which all but the last 256 rows are done."""
    plan = Job(source=source, steps=[], sink=str(sink)).plan()
    rows, rejected = done(plan, sink)
    began = time.time()
    arguments = [sys.executable, "-c", RUN, source, str(sink), str(rows), str(rejected)]
    with subprocess.Popen(arguments, cwd=Path(__file__).parents[1]) as run:
        peaks = watched(run)
    if run.returncode:
        raise SystemExit("the run failed")
    first = min(part.stat().st_mtime for part in (sink / ledger.DATA).glob("part-000002-*"))
    return first - began, max(peaks.values())


def done(plan: Plan, sink: Path) -> tuple[int, int]:
    """A sink as a dead run left it, which had done all but the last fragment; tells its rows and its rejects."""
    for folder in ledger.FOLDERS:
        (sink / folder).mkdir(parents=True)
    start = Start("run-1", plan.fingerprint, holder=Holder.here().as_json())
    epoch = ledger.claim(Store.at(str(sink)), start, after=0)
    epoch.sink.put(f"{ledger.RUNS}/{start.run_id}/run.json", b'{"state": "failed"}')
    rng = np.random.default_rng(0)
    rows = parts = 0
    for fragment in plan.source.fragments[:-1]:
        (version,) = fragment.versions()
        for ids in cut(fragment):
            name = epoch.part_name(f"{parts:020x}", ledger.file_key(fragment.file))
            pq.write_table(outcomes(ids, rng, version), sink / ledger.OUTCOMES / name, compression="zstd")
            (sink / ledger.DATA / name).touch()
            rows, parts = rows + len(ids), parts + 1
    return rows, parts * REJECTED


def cut(fragment: Fragment) -> list[pa.Array]:
    """The ids of a fragment's parts."""
    ids = fragment.ids().combine_chunks()
    return [ids[first : first + PART_ROWS] for first in range(0, len(ids), PART_ROWS)]


def outcomes(ids: pa.Array, rng: np.random.Generator, version: int) -> pa.Table:
    """The outcomes of a part whose first rows were rejected."""
    rows = len(ids)
    good = np.arange(rows) >= REJECTED
    hashes = rng.bytes(16 * rows).hex()
    offsets = np.arange(0, 32 * rows + 1, 32, dtype=np.int32)
    return pa.table(
        [
            ids,
            pa.array(np.where(good, "ok", "rejected")),
            good.astype(np.int32),
            (~good).astype(np.int32),
            np.ones(rows, np.int32),
            pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(hashes.encode())),
            np.full(rows, version, np.int64),
        ],
        OUTCOME,
    )


def watched(run: subprocess.Popen[bytes]) -> dict[int, float]:
    """Peak resident memory in GB of a process and all below it, by process id, when it has ended."""
    peaks: dict[int, float] = {}
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(psutil.Process(run.pid), peaks, ended))
    watcher.start()
    run.wait()
    ended.set()
    watcher.join()
    return peaks


def _watch(root: psutil.Process, peaks: dict[int, float], ended: threading.Event) -> None:
    while not ended.wait(0.5):
        try:
            processes = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in processes:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            peak = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
            peaks[process.pid] = max([peaks.get(process.pid, 0.0), *(kilobytes / 1e6 for kilobytes in peak)])


if __name__ == "__main__":
    common.main(measure, __doc__)
