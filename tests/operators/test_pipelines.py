"""Every pipeline: the same as called by hand, and the same in any company; docs/pipelines.md tells what was found."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pyarrow as pa
import pytest
import torch

from operators.base import Column
from operators.images import decode, encode_all
from operators.models.builtin.scenes import draw, scene
from operators.pipeline import Pipeline, Product
from operators.pipeline.operator import PipelineOperator
from tests.operators.tinies.cases import CASES, Case

PAGE = Path(__file__).parent.parent.parent / "docs" / "pipelines.md"
SEEDS = [7, 8, 9]
RETURNED = {Product.IMAGE: "images", Product.AUDIO: "audios", Product.VIDEO: "frames"}
FAULTS = (AttributeError, ImportError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
PARAMETERS = [
    pytest.param(case, id=f"{case.pipeline}-{case.build.__name__}", marks=[] if case.short else pytest.mark.long)
    for case in CASES
]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], Any]], Path]:
    folders: dict[Any, Path] = {}

    def save(build: Callable[[], Any]) -> Path:
        if build not in folders:
            torch.manual_seed(0)
            folders[build] = tmp_path_factory.mktemp("pipeline") / build.__name__
            build().save_pretrained(folders[build])
        return folders[build]

    return save


@pytest.fixture(scope="session")
def rows() -> pa.Table:
    scenes = draw([scene(index, 2) for index in range(6)])
    middle = np.zeros((3, 32, 32, 3), np.uint8)
    middle[0, 8:24, 8:24], middle[1, 4:20, 8:24], middle[2, 8:24, 4:28] = 255, 255, 255
    return pa.table(
        {
            "prompt": ["a red circle", "a star", "a large blue ring on a white background"],
            "source": ["a circle", "a picture", "a ring"],
            "image": encode_all(scenes[:3, ::2, ::2]),
            "example": encode_all(scenes[3:, ::2, ::2]),
            "small": encode_all(scenes[:3, ::4, ::4]),
            "mask": encode_all(middle),
            "small_mask": encode_all(middle[:, ::2, ::2]),
            "seed": SEEDS,
        }
    )


def by_hand(case: Case, row: dict[str, Any], seed: int) -> Any:
    torch.manual_seed(0)
    pipeline, kind = case.build(), getattr(diffusers, case.pipeline)
    pipeline = pipeline if type(pipeline) is kind else kind.from_pipe(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    given = {name: row[v.column] if isinstance(v, Column) else v for name, v in case.arguments.items()}
    for name, value in given.items():
        if isinstance(value, dict):
            given[name] = decode(value).convert("L" if "mask" in name else "RGB")
    takes = inspect.signature(pipeline.__call__).parameters
    if "generator" in takes:
        given["generator"] = torch.Generator().manual_seed(seed)
    if "output_type" in takes:
        given["output_type"] = "np"
    torch.manual_seed(seed)
    return np.asarray(pipeline(**given)[RETURNED[case.produces]][0])


def line(case: Case, found: str) -> str:
    return f"| {case.name} | {case.taken} | {case.produces} | {found} |"


def tried(case: Case, folder: Path, rows: pa.Table) -> str:
    """How many rows at once are right; raises where the pipeline or the operator is wrong."""
    spec = Pipeline(
        model=str(folder),
        class_=case.pipeline,
        arguments=case.arguments,
        produces=case.produces,
        seed=Column(column="seed"),
    )
    operator = PipelineOperator(spec)
    prepared: list[Any] = operator.prepare(rows, [0, 0, 0])
    theirs = by_hand(case, rows.slice(0, 1).to_pylist()[0], SEEDS[0])
    together = operator.outputs(prepared)
    alone = [operator.outputs([row])[0] for row in prepared]
    assert np.isfinite(theirs).all()
    assert np.abs(alone[0] - theirs).max() <= 1e-4
    for ours, single in zip(together, alone, strict=True):
        assert np.abs(ours - single).max() <= 1e-4
    assert np.abs(alone[0] - alone[1]).max() > 1e-4
    (batches,) = operator.batchable.values()
    return "batch" if batches else "one"


def found(case: Case, saved: Callable[[Callable[[], Any]], Path], rows: pa.Table) -> str:
    try:
        return tried(case, saved(case.build), rows)
    except FAULTS as error:
        return f"can't be run: `{type(error).__name__}: {str(error).strip().splitlines()[0]}`"


@pytest.mark.parametrize("case", PARAMETERS)
def test_rows_are_those_of_the_pipeline_by_itself_in_any_company(
    case: Case, saved: Callable[[Callable[[], Any]], Path], rows: pa.Table
) -> None:
    assert line(case, found(case, saved, rows)) in PAGE.read_text().splitlines()
