"""What each step of a recorded job did to one row: its options as resolved, its models, the seed that it drew from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from jobs.sink import batches
from operators import KINDS
from operators.models.ref import ModelRef
from operators.seeds import branch_seeds, row_seeds, step_seeds

Record = Mapping[str, Any]
"""A run's ``run.json``."""


@dataclass(frozen=True)
class Model:
    """Weights that a step used."""

    model: str
    revision: str | None
    """The commit of a model from the hub, or the revision that was pinned."""
    sha256: str | None
    """Of the weights; None where the run ended before it could tell."""


@dataclass(frozen=True)
class Step:
    """One step, as one row went through it."""

    name: str
    kind: str
    row_id: str
    """The row's id after the step."""
    seed: int
    """What it drew noise from for this row, unless ``parameters`` give a seed."""
    parameters: dict[str, Any]
    """All options, with every default."""
    values: dict[str, Any] = field(default_factory=dict)
    """What the row had in the columns that options are read from, by column."""
    models: list[Model] = field(default_factory=list)
    batch: int | None = None
    """With how many rows it went through the networks, itself among them."""
    resources: dict[str, Any] = field(default_factory=dict)
    """Where it ran, as the run resolved it."""


def names(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """The steps' names, as :attr:`jobs.spec.Job.step_names` gives them."""
    kinds = [kind for step in steps for kind in step]
    return [kind if (nth := kinds[:at].count(kind)) == 0 else f"{kind}-{nth + 1}" for at, kind in enumerate(kinds)]


def chain(step_names: Sequence[str], source_id: str, row_id: str) -> list[str]:
    """A row's id after each step: every 1 to N step has added ``/STEP.LABEL`` to it."""
    at, left, ids = source_id, row_id[len(source_id) :], []
    for number, name in enumerate(step_names):
        mark = f"/{name}."
        if left.startswith(mark):
            ends = [left.find(f"/{later}.", len(mark)) for later in step_names[number + 1 :]]
            end = min((end for end in ends if end >= 0), default=len(left))
            at, left = at + left[:end], left[end:]
        ids.append(at)
    return ids


def steps_of(
    record: Record, row: Mapping[str, Any], failed_in: str | None, noted: Mapping[bytes, bytes]
) -> Iterator[Step]:
    """The steps that a row went through, in their order.

    Args:
        record: of the row's run.
        row: its ids, and its values by column.
        failed_in: the step that rejected it, which is the last then.
        noted: metadata of the outcomes of its part.
    """
    job = record["job"]
    step_names, source_id = names(job["steps"]), row["source_id"]
    seed, before = row_seeds(job["seed"], [source_id])[0].as_py(), source_id
    for name, step, row_id in zip(step_names, job["steps"], chain(step_names, source_id, row["row_id"]), strict=True):
        ((kind, parameters),) = step.items()
        parent, seed = seed, branch_seeds(pa.chunked_array([[seed]]), [row_id[len(before) :]])[0].as_py()
        yield Step(
            name=name,
            kind=kind,
            row_id=row_id,
            seed=_drawn(kind, name, parent, seed),
            parameters=parameters,
            values={column: row[column] for column in _columns(parameters) if column in row},
            models=list(_models(parameters, record)),
            batch=batches.told(noted, name).of(row_id),
            resources=_resources(record, name),
        )
        before = row_id
        if name == failed_in:
            return


def _drawn(kind: str, name: str, parent: int, seed: int) -> int:
    shared = kind in KINDS and KINDS[kind][0].branches_share_seed
    return step_seeds(pa.array([parent if shared else seed], pa.int64()), name)[0]


def _columns(options: Any) -> Iterator[str]:
    """The columns that options are read from."""
    if isinstance(options, Mapping) and [*options] == ["column"]:
        yield options["column"]
    elif isinstance(options, Mapping | list):
        for value in options.values() if isinstance(options, Mapping) else options:
            yield from _columns(value)


def _models(parameters: Mapping[str, Any], record: Record) -> Iterator[Model]:
    digests, revisions = record.get("summary", {}).get("weights", {}), record.get("revisions", {})
    known = {*digests, *revisions, parameters.get("model")}
    for name in dict.fromkeys(text for text in _texts(parameters) if text in known):
        yield Model(name, revisions.get(name) or ModelRef(name).revision, digests.get(name))


def _texts(options: Any) -> Iterator[str]:
    if isinstance(options, str):
        yield options
    elif isinstance(options, Mapping | list):
        for value in options.values() if isinstance(options, Mapping) else options:
            yield from _texts(value)


def _resources(record: Record, step: str) -> dict[str, Any]:
    for placement in record.get("resources", []):
        for running in placement["steps"]:
            if running["step"] == step:
                where = {key: placement[key] for key in ("threads", "cpus", "gpus", "accelerator_type")}
                return {key: running[key] for key in ("batch_rows", "compiled")} | where
    return {}
