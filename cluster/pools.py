"""Actor pools: each actor loads a step's weights once and then takes one table after another."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, Dataset

from cluster.resources import Placement
from operators.base import Spec, compute_with


class _RowActor:
    """A step for rows of anyone's own dataset."""

    def __init__(self, spec: Spec, placement: Placement) -> None:
        self.operator = load(spec, placement)

    def __call__(self, table: pa.Table) -> pa.Table:
        return self.operator(table)


def load(spec: Spec, placement: Placement) -> Any:
    """Load a step in this process, with the threads that it was given."""
    if spec.models():
        compute_with(placement.threads)
    return spec.load(step=placement.step, batch_rows=placement.batch_rows)


def options(placement: Placement) -> dict[str, Any]:
    """The options of ``map_batches`` that place a step."""
    return {
        "compute": ActorPoolStrategy(
            min_size=placement.actors.min, max_size=placement.actors.max, initial_size=placement.actors.min
        ),
        "num_cpus": placement.cpus,
        "num_gpus": placement.gpus or None,
        "batch_format": "pyarrow",
        "zero_copy_batch": True,
    }


def map_rows(dataset: Dataset, spec: Spec, placement: Placement, rows: int = 64) -> ray.data.Dataset:
    """Apply one step to a Ray Dataset; ``rows`` go to an actor at a time.

    The rows of the result carry ``row_id``, ``row_seed``, ``_kept`` and ``_error``. Give the dataset a column ``row_id``
    to make ids, and with them the noise, independent of its blocks.
    """
    return dataset.map_batches(_RowActor, fn_constructor_args=(spec, placement), batch_size=rows, **options(placement))
