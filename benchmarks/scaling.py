"""How many GPUs one driver feeds: a step that sleeps as long as a GPU would work, on GPUs that Ray only counts.

First the same job without sleep tells how many parts a second this machine can take through at all: reading, the
actors' own work, committing and the driver, together. Then the job sleeps, on more and more GPUs.

parts_per_second      of 64 rows, without sleep: as many as this machine's processors can do
driver_ms             of the driver's processor time for one part; the other processes can be on other machines
efficiency            by GPUs: the share of time that actors slept, from when the last of them had its first part until
                      the first of them had its last one
overall               by GPUs: the same for the whole job but the actors' start: from the first part's first step to the
                      last commit
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import ray
from sleeping import Sleeping

from jobs import Job
from operators.images import encode_all
from operators.models.builtin.scenes import draw, scene

ROWS = 64
"""Of a part."""


def measure(quick: bool, seconds: float, parts: int) -> dict[str, Any]:
    """The figures by numbers of GPUs."""
    sizes = [1, 4] if quick else [1, 2, 4, 8, 16, 32, 64]
    seconds, parts = (0.5, 8) if quick else (seconds, parts)
    unslept = run(2, 0.0, 40 if quick else 400)
    slept = {gpus: run(gpus, seconds, gpus * parts) for gpus in sizes}
    return {
        "parts_per_second": round(unslept.parts / unslept.working, 1),
        "driver_ms": round(1000 * unslept.driver / unslept.parts, 1),
        "seconds_a_part": seconds,
        "parts_a_gpu": parts,
        "efficiency": {gpus: round(each.steady(), 3) for gpus, each in slept.items()},
        "overall": {gpus: round(each.busy() / (gpus * each.working), 3) for gpus, each in slept.items()},
    }


@dataclass
class Ran:
    """A job that has run."""

    spans: dict[int, np.ndarray]
    """When each actor began and ended each of its parts: ``(parts, 2)``, seconds."""
    working: float
    driver: float
    """Processor seconds of the driver's."""

    @property
    def parts(self) -> int:
        """How many there were."""
        return sum(map(len, self.spans.values()))

    def busy(self, first: float = 0.0, last: float = np.inf) -> float:
        """Seconds in which actors slept, of those between two times."""
        return float(sum(np.clip(np.diff(spans.clip(first, last)), 0, None).sum() for spans in self.spans.values()))

    def steady(self) -> float:
        """The share of time that actors slept while all of them had parts to come."""
        first = max(spans.min() for spans in self.spans.values())
        last = min(spans.max() for spans in self.spans.values())
        return self.busy(first, last) / (len(self.spans) * (last - first))


def run(gpus: int, seconds: float, parts: int) -> Ran:
    """Take so many parts through so many actors, in a cluster of its own."""
    few = encode_all(draw([scene(index, 9) for index in range(ROWS)]))
    ray.init("local", num_cpus=4, num_gpus=gpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with tempfile.TemporaryDirectory() as folder:
            picture = pa.table({"image": few})
            with pq.ParquetWriter(f"{folder}/rows.parquet", picture.schema) as file:
                for _ in range(parts):
                    file.write_table(picture)
            job = Job(
                source=f"{folder}/rows.parquet",
                steps=[Sleeping(seconds=seconds)],
                sink={"uri": f"{folder}/sink", "part_rows": ROWS},
                resources={"sleeping": {"gpus": 1, "cpus": 0.01, "actors": gpus, "batch_rows": ROWS}},
            )
            process = psutil.Process()
            before = process.cpu_times()
            working = job.run().working_seconds
            after = process.cpu_times()
            driver = after.user + after.system - before.user - before.system
            return Ran(_spans(Path(folder, "sink", "data")), working, driver)
    finally:
        ray.shutdown()


def _spans(data: Path) -> dict[int, np.ndarray]:
    rows = pads.dataset(data).to_table(["actor", "began", "ended"]).to_pandas().drop_duplicates()
    return {actor: part[["began", "ended"]].to_numpy() for actor, part in rows.groupby("actor")}


if __name__ == "__main__":
    common.main(
        measure,
        __doc__,
        seconds={"type": float, "default": 8.0, "help": "that a part sleeps"},
        parts={"type": int, "default": 8, "help": "for every GPU"},
    )
