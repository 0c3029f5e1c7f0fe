"""A plan as a Ray Dataset of parts: read, one actor pool per stage, commit."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext, Dataset

from cluster import pools
from cluster.resources import Placement
from jobs.content import content_hashes
from jobs.done import DoneRows
from jobs.parts import pack, unpack
from jobs.plan import Plan
from jobs.sources import Fragment
from jobs.sources.ray_dataset import RayDatasetSource
from jobs.stage import StageActor
from jobs.writer import Writer
from operators import columns
from operators.seeds import row_seeds

_READ_TASKS = 1000


@dataclass(frozen=True)
class Stamp:
    """What every row of one run carries."""

    source_uri: str
    run_id: str
    plan: str
    seed: int

    def rows(self, table: pa.Table) -> pa.Table:
        """Source rows with their lineage and the columns that rows in flight have."""
        ids = table[columns.SOURCE_ID]
        count = table.num_rows
        added = {
            columns.ROW_ID: ids,
            columns.SOURCE_URI: pa.repeat(self.source_uri, count),
            columns.CONTENT_HASH: content_hashes(table.drop_columns(columns.SOURCE_ID)),
            columns.RUN_ID: pa.repeat(self.run_id, count),
            columns.PLAN: pa.repeat(self.plan, count),
            columns.SEED: row_seeds(self.seed, ids.to_pylist()),
            columns.ERROR: pa.nulls(count, columns.ERROR_TYPE),
            columns.KEPT: pa.repeat(True, count),
        }
        for name, column in added.items():
            table = table.append_column(name, column)
        return table


def dataset(plan: Plan, placements: list[Placement], stamp: Stamp, writer: Writer, done: DoneRows) -> Dataset:
    """The whole run, not started yet; its rows are one report (JSON) per committed part.

    Reading and committing are pools of actors too: Ray ends a task's worker that idles for a second and starts a new
    one, with all its imports, for the next part.
    """
    with _one_part_per_block():
        parts = _sources(plan, stamp, done)
        for stage, placement in zip(plan.stages, placements, strict=True):
            arguments = ([step.spec for step in stage.steps], placement)
            parts = parts.map_batches(
                StageActor, fn_constructor_args=arguments, batch_size=1, **pools.options(placement)
            )
        return parts.map_batches(_Committer, fn_constructor_args=(writer,), batch_size=1, **pools.io_options())


def reports(run: Dataset) -> Iterator[dict[str, Any]]:
    """Run it; the reports of parts as they are committed."""
    for batch in run.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for report in batch["report"].to_pylist():
            yield json.loads(report)


def _sources(plan: Plan, stamp: Stamp, done: DoneRows) -> Dataset:
    part_rows, kept = plan.job.sink.part_rows, ray.put(done)
    if isinstance(plan.job.source, RayDatasetSource):
        shaped = plan.job.source.parts(part_rows)
        return shaped.map_batches(
            _Packer, fn_constructor_args=(stamp, kept), batch_size=part_rows, **pools.io_options()
        )
    fragments = plan.source.fragments
    tasks = max(1, min(len(fragments), _READ_TASKS))
    shares = [ray.put(fragments[number::tasks]) for number in range(tasks)]
    numbers = ray.data.from_items([{"task": number} for number in range(tasks)], override_num_blocks=tasks)
    return numbers.map_batches(
        _Reader, fn_constructor_args=(stamp, kept, shares, part_rows), batch_size=1, **pools.io_options()
    )


class _Packer:
    """Makes parts of source rows, without those that are done."""

    def __init__(self, stamp: Stamp, done: ray.ObjectRef[DoneRows]) -> None:
        self.stamp = stamp
        self.done = ray.get(done)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        new = ~self.done.contains(table[columns.SOURCE_ID].to_pylist())
        if new.any():
            yield pack(self.stamp.rows(table.filter(pa.array(new))), {"began": None, "steps": {}})


class _Reader:
    """Reads fragments and makes parts of them."""

    def __init__(
        self,
        stamp: Stamp,
        done: ray.ObjectRef[DoneRows],
        shares: list[ray.ObjectRef[list[Fragment]]],
        part_rows: int,
    ) -> None:
        self.packed = _Packer(stamp, done)
        self.shares = shares
        self.part_rows = part_rows

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for number in batch["task"].to_pylist():
            for fragment in ray.get(self.shares[number]):
                for table in fragment.read(self.part_rows):
                    yield from self.packed(table)


class _Committer:
    """Writes finished parts."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def __call__(self, row: pa.Table) -> pa.Table:
        table, notes = unpack(row)
        began = notes["began"] or time.time()
        report = self.writer.commit(table) | notes | {"began": began, "ended": time.time()}
        return pa.table({"report": [json.dumps(report)]})


@contextlib.contextmanager
def _one_part_per_block() -> Iterator[None]:
    """Datasets made inside hand on every part as soon as it is there, alone in its block."""
    context = DataContext.get_current()
    before = context.target_max_block_size, context.enable_progress_bars
    context.target_max_block_size, context.enable_progress_bars = 1, False
    try:
        yield
    finally:
        context.target_max_block_size, context.enable_progress_bars = before
