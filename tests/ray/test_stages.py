"""Steps that share a model run in one process, which loads the weights once; tensors are handed on between steps."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from jobs import Job
from operators import Caption, Operator, Spec, columns
from operators.base import Kind, Produced
from operators.models import builtin
from operators.models.ref import ModelRef
from operators.tensors import pack, unpack
from tests.ray.datasets import rows

pytestmark = pytest.mark.usefixtures("cluster")

FOLDER = Path(builtin.__file__).parent
SOURCE = {"uri": "builtin:shapes?rows=6", "columns": ["image"]}


class Witness(Spec):
    """Tells which process it runs in, and which networks of that process it holds."""

    kind: ClassVar[str] = "witness"

    model: ModelRef = ModelRef("builtin:stable-diffusion")
    output: str

    def reads(self) -> dict[str, Kind]:
        return {}

    def writes(self) -> dict[str, pa.DataType]:
        return {f"{self.output}_process": pa.int64(), f"{self.output}_networks": pa.int64()}

    def models(self) -> tuple[ModelRef, ...]:
        return (self.model,)

    def load(self, step: Any = None, batch_rows: int = 16, **_: Any) -> Any:
        return WitnessAtWork(self, step, batch_rows)


class WitnessAtWork(Operator[Witness, None]):
    def __init__(self, *arguments: Any) -> None:
        from operators.diffusion.family import load_family
        from operators.models.loading import diffusion_files, pick_device

        super().__init__(*arguments)
        self.family = load_family(diffusion_files(self.spec.model), pick_device())

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Any]:  # noqa: ARG002
        return [None] * table.num_rows

    def run(self, batch: list[Any]) -> Produced:
        told = zip(self.spec.writes(), (os.getpid(), id(self.family)), strict=True)
        return Produced({name: [value] * len(batch) for name, value in told})


class Tensors(Spec):
    """Adds a tensor that differs from row to row, or adds up one that is there."""

    kind: ClassVar[str] = "tensors"

    add: bool

    def reads(self) -> dict[str, Kind]:
        return {} if self.add else {"tensor": Kind.TENSOR}

    def writes(self) -> dict[str, pa.DataType]:
        return {"tensor": columns.TENSOR} if self.add else {"total": pa.float64()}

    def describes(self) -> dict[str, dict[str, str]]:
        return {"tensor": {"made": "here"}} if self.add else {}

    def load(self, step: Any = None, batch_rows: int = 16, **_: Any) -> Any:
        return TensorsAtWork(self, step, batch_rows)


class TensorsAtWork(Operator[Tensors, Any]):
    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Any]:  # noqa: ARG002
        if self.spec.add:
            numbers = [int(row_id[-1]) for row_id in table[columns.ROW_ID].to_pylist()]
            return [np.full((2, number + 1), number) for number in numbers]
        return list(unpack(table["tensor"]))

    def run(self, batch: list[Any]) -> Produced:
        return Produced({"tensor": pack(batch)} if self.spec.add else {"total": [array.sum() for array in batch]})


def test_steps_that_share_a_model_run_in_one_process_and_hold_the_same_networks(tmp_path):
    steps = [Witness(output="first"), Caption(), Witness(output="second")]
    resources = {"default": {"threads": 1}, "witness": {"actors": 2, "cpus": 0.5}}
    sink = {"uri": str(tmp_path / "sink"), "part_rows": 1}
    summary = Job(source=SOURCE, steps=steps, sink=sink, resources=resources).run()
    made = rows(tmp_path / "sink")
    assert len(made) == 6
    assert (made["first_process"] == made["second_process"]).all()
    assert (made["first_networks"] == made["second_networks"]).all()
    assert made["caption"].str.len().min() > 0
    assert {name: step.rows for name, step in summary.steps.items()} == {"witness": 6, "caption": 6, "witness-2": 6}


def test_steps_that_share_no_model_run_in_processes_of_their_own(tmp_path):
    other = shutil.copytree(FOLDER / "stable-diffusion", tmp_path / "model")
    steps = [Witness(output="first"), Witness(output="second", model=str(other))]
    Job(source=SOURCE, steps=steps, sink=str(tmp_path / "sink")).run()
    made = rows(tmp_path / "sink")
    assert len(made) == 6
    assert (made["first_process"] != made["second_process"]).all()


def test_tensors_go_from_step_to_step_and_from_job_to_job(tmp_path):
    def run(sink, tensors, source, *steps):
        Job(source=source, steps=steps, sink={"uri": str(sink), "tensors": tensors, "part_rows": 2}).run()
        return pads.dataset(sink / "data")

    totals = {f"shapes#00000{number}": float(2 * number * (number + 1)) for number in range(6)}
    thrown = run(tmp_path / "thrown", False, SOURCE, Tensors(add=True), Tensors(add=False))
    assert "tensor" not in thrown.schema.names
    found = thrown.to_table()
    assert dict(zip(found["row_id"].to_pylist(), found["total"].to_pylist(), strict=True)) == totals

    kept = run(tmp_path / "kept", True, SOURCE, Tensors(add=True))
    assert kept.schema.field("tensor").metadata[b"made"] == b"here"
    later = run(tmp_path / "later", True, str(tmp_path / "kept" / "data"), Tensors(add=False))
    assert later.schema.field("tensor").metadata[b"made"] == b"here"
    assert sorted(later.to_table()["total"].to_pylist()) == sorted(totals.values())
