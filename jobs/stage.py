"""The actor that takes parts through the steps of one stage."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cluster import pools
from cluster.resources import Placement
from jobs.parts import pack, unpack
from operators import Spec, columns


class StageActor:
    """Takes every part through the steps of a stage."""

    def __init__(self, specs: Sequence[Spec], placement: Placement) -> None:
        self.operators = pools.load(specs, placement)

    def __call__(self, row: pa.Table) -> pa.Table:
        """One part, with the columns that the steps add and the seconds that they took."""
        table, notes = unpack(row)
        notes["began"] = notes["began"] or time.time()
        for operator in self.operators:
            live = pc.sum(pc.and_(pc.is_null(table[columns.ERROR]), table[columns.KEPT])).as_py()
            began = time.perf_counter()
            table = operator(table)
            seconds = time.perf_counter() - began
            rows = live * (len(operator.spec.branches()) or 1)
            notes["steps"][operator.step] = {"rows": rows, "seconds": seconds, "weights": operator.digests()}
        return pack(table, notes)
