"""Actor pools: each actor loads its steps' weights once and then takes one table after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from ray.data import ActorPoolStrategy, Dataset

from cluster.autoscaler import Autoscaler
from cluster.nodes import GIB, capacity
from cluster.placement import IO, Placement
from cluster.resources import Resources
from cluster.sizing import sized
from operators.base import Loaded, Spec, compute_with

_MOST_IO = 32
"""Readers, and as many writers, where nobody knows how many CPUs there will be."""


class _RowActor:
    """A step for rows of anyone's own dataset."""

    def __init__(self, spec: Spec, placement: Placement) -> None:
        (self.operator,) = load([spec], placement)

    def __call__(self, table: pa.Table) -> pa.Table:
        return self.operator(table)


def load(specs: Sequence[Spec], placement: Placement) -> list[Loaded[Any]]:
    """Load the steps of one actor in this process, in their order, with the threads that it was given."""
    if any(spec.models() for spec in specs):
        compute_with(placement.threads)
    return [
        spec.load(step=running.step, batch_rows=running.batch_rows, compiled=running.compiled)
        for spec, running in zip(specs, placement.steps, strict=True)
    ]


def options(placement: Placement) -> dict[str, Any]:
    """The options of ``map_batches`` that place a pool of actors."""
    actors, accelerator = placement.actors, placement.accelerator_type
    return {
        "compute": ActorPoolStrategy(min_size=actors.min, max_size=actors.max, initial_size=actors.initial),
        "num_cpus": placement.cpus,
        "num_gpus": placement.gpus or None,
        "memory": placement.memory * GIB or None,
        "batch_format": "pyarrow",
        "zero_copy_batch": True,
        **({"accelerator_type": accelerator} if accelerator else {}),
    }


def io_options() -> dict[str, Any]:
    """The options of ``map_batches`` for what only reads or writes: one actor, more where work waits and CPUs are."""
    most = _MOST_IO if Autoscaler.there() else max(1, int(capacity().cpus / 4))
    return {
        "compute": ActorPoolStrategy(min_size=1, max_size=most, initial_size=1),
        "num_cpus": IO.cpus,
        "batch_format": "pyarrow",
        "zero_copy_batch": True,
    }


def map_rows(dataset: Dataset, spec: Spec, resources: Resources | None = None, rows: int = 64) -> Dataset:
    """Apply one step to anyone's Ray Dataset.

    Args:
        dataset: rows with the columns that the step reads. Give it a column ``row_id`` to make ids, and with them the
            noise, independent of its blocks.
        spec: the step.
        resources: where it runs; all that is there unless given.
        rows: rows that go to an actor at a time.

    Returns:
        The rows with the step's columns, and with ``row_id``, ``row_seed``, ``_kept`` and ``_error``.

    Raises:
        ResourceError: the cluster can't hold the step.
    """
    heavy = {spec.kind} if spec.models() else set()
    (placement,) = sized([{spec.kind: resources or Resources()}], heavy)
    arguments = (spec, placement)
    return dataset.map_batches(_RowActor, fn_constructor_args=arguments, batch_size=rows, **options(placement))
