"""A step that takes as long as a GPU would, and leaves the processor alone meanwhile."""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar

import pyarrow as pa

from operators import Operator, Spec
from operators.base import Kind, Produced


class Sleeping(Spec):
    """Sleeps for every batch; adds who took a row, and from when to when."""

    kind: ClassVar[str] = "sleeping"

    seconds: float

    def reads(self) -> dict[str, Kind]:
        return {}

    def writes(self) -> dict[str, pa.DataType]:
        return {"actor": pa.int64(), "began": pa.float64(), "ended": pa.float64()}

    def load(self, step: Any = None, batch_rows: int = 16, **_: Any) -> Any:
        return _Asleep(self, step, batch_rows)


class _Asleep(Operator[Sleeping, None]):
    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Any]:  # noqa: ARG002
        return [None] * table.num_rows

    def run(self, batch: list[Any]) -> Produced:
        began = time.time()
        time.sleep(self.spec.seconds)
        rows = len(batch)
        times = {"began": [began] * rows, "ended": [time.time()] * rows}
        return Produced({"actor": [os.getpid()] * rows} | times)
