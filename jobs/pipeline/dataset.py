"""A plan as a Ray Dataset of parts: read, one actor pool per stage, commit."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext, Dataset

from cluster import pools
from cluster.nodes import capacity
from cluster.placement import Placement
from jobs.pipeline import suspects
from jobs.pipeline.duplicates import find
from jobs.pipeline.parts import unpack
from jobs.pipeline.reader import Packer, Reader, shares
from jobs.pipeline.stage import StageActor
from jobs.pipeline.stamp import Stamp
from jobs.pipeline.suspects import Suspects
from jobs.plan import Plan
from jobs.sink import ledger
from jobs.sink.recall import Recall
from jobs.sink.seen import Seen
from jobs.sink.writer import Writer
from jobs.sources.ray_dataset import RayDatasetSource
from jobs.stores.store import Store
from operators import columns

_SHARES = 100
"""Into so many the source is cut, or as many as there are CPUs: every share costs Ray some milliseconds."""

_SETTINGS = {"target_max_block_size": 1, "enable_progress_bars": False, "raise_original_map_exception": True}


@contextlib.contextmanager
def assembled(
    plan: Plan, placements: list[Placement], read: Callable[[Suspects], Dataset], writer: Writer
) -> Iterator[Dataset]:
    """The whole run, to be started in the block; its rows are :func:`reports`: of parts, and of what was done before.

    Reading and committing are pools of actors too: Ray ends a task's worker that idles for a second and starts a new
    one, with all its imports, for the next part.

    Args:
        plan: the steps.
        placements: where each stage runs.
        read: makes the dataset of parts that the steps are for, given where readers note what they have in hand.
        writer: what commits them.
    """
    names = ["read", *(placement.name for placement in placements), "commit"]
    with suspects.noted(names) as (reading, *watched, committing):
        with _set_up():
            parts = read(reading)
            for stage, placement, views in zip(plan.stages, placements, watched, strict=True):
                loaded = [step.spec for step in stage.steps], placement, views
                options = pools.options(placement)
                parts = parts.map_batches(StageActor, fn_constructor_args=loaded, batch_size=1, **options)
            arguments = writer, committing
            parts = parts.map_batches(_Committer, fn_constructor_args=arguments, batch_size=1, **pools.io_options())
        yield parts


def reports(run: Dataset) -> Iterator[dict[str, Any]]:
    """Run it; the reports of parts as they are committed, and of what earlier runs had done."""
    for batch in run.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for report in batch["report"].to_pylist():
            yield json.loads(report)


def new_rows(plan: Plan, stamp: Stamp, store: Store, replaces: bool, watch: Suspects) -> Dataset:
    """Parts of the source rows that have no outcome in a sink yet, or have changed since where it replaces rows."""
    part_rows, recall = plan.job.sink.part_rows, ray.put(Recall(store, ledger.committed(store), Seen.load(store)))
    arguments = stamp, recall, replaces
    if isinstance(plan.job.source, RayDatasetSource):
        shaped = plan.job.source.parts(part_rows)
        return shaped.map_batches(Packer, fn_constructor_args=arguments, batch_size=part_rows, **pools.io_options())
    most = max(_SHARES, int(capacity().cpus))
    cut = shares(plan.source.fragments, most)
    alike = plan.job.row_options.dedup
    duplicates = None if alike is None else ray.put(find(alike, cut, recall))
    numbers = ray.data.from_items([{"task": number} for number in range(len(cut))], override_num_blocks=len(cut))
    given = *arguments, list(map(ray.put, cut)), part_rows, watch, duplicates
    return numbers.map_batches(Reader, fn_constructor_args=given, batch_size=1, **pools.io_options())


class _Committer:
    """Writes finished parts."""

    def __init__(self, writer: Writer, suspects: Suspects) -> None:
        self.writer = writer
        self.suspects = suspects

    def __call__(self, row: pa.Table) -> pa.Table:
        table, notes = unpack(row)
        report = self._committed(table, notes) if table.num_rows else notes
        return pa.table({"report": [json.dumps(report)]})

    def _committed(self, table: pa.Table, notes: dict[str, Any]) -> dict[str, Any]:
        began, first = notes["began"] or time.time(), table[columns.ROW_ID][0].as_py()
        self.suspects.whole(first, "committing", f"the part that begins with {first}")
        counts = self.writer.commit(table, notes["file"], notes["noted"])
        self.suspects.end(first)
        told = {"changed": notes.get("changed", 0), "steps": notes["steps"], "actors": notes.get("actors", {})}
        return counts | told | {"began": began, "ended": time.time()}


@contextlib.contextmanager
def _set_up() -> Iterator[None]:
    """Datasets made inside hand on every part as soon as it is there, alone in its block, and errors as they are."""
    context = DataContext.get_current()
    before = {name: getattr(context, name) for name in _SETTINGS}
    for name, value in _SETTINGS.items():
        setattr(context, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
