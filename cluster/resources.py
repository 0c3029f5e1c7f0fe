"""What a step's actors need, what is there, and whether the one fits the other before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from operators.errors import ResourceError

IO_CPUS = 0.25
"""CPUs that one reading or writing actor reserves."""

_Number = TypeVar("_Number", int, float)


class Actors(BaseModel):
    """How many actors a step has, at the least and at the most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: Annotated[int, Field(ge=1, description="actors that are always there")] = 1
    max: Annotated[int, Field(ge=1, description="actors that are started while work waits")] = 1

    @model_validator(mode="after")
    def _ordered(self) -> Actors:
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, which is more than max, {self.max}")
        return self


class Resources(BaseModel):
    """Where a step runs; what it does to rows is not changed by any of this."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: Annotated[float | None, Field(ge=0, description="GPUs of one actor; a fraction shares a card")] = None
    cpus: Annotated[float | None, Field(gt=0, description="CPUs that one actor reserves")] = None
    threads: Annotated[int | None, Field(ge=1, description="threads that one actor computes with")] = None
    actors: Annotated[int | Actors, Field(description="number of actors, or {min, max}")] = 1
    batch_rows: Annotated[int, Field(ge=1, description="rows that go through the networks at once")] = 16
    compile: Annotated[
        bool,
        Field(
            description="compile the networks with torch.compile: slow at the first batch of every shape, faster after"
        ),
    ] = False

    @model_validator(mode="after")
    def _some(self) -> Resources:
        if isinstance(self.actors, int) and self.actors < 1:
            raise ValueError("actors must be at least 1")
        return self

    @property
    def pool(self) -> Actors:
        """The number of actors as a range."""
        return self.actors if isinstance(self.actors, Actors) else Actors(min=self.actors, max=self.actors)


@dataclass(frozen=True)
class Capacity:
    """What a cluster has in all, and the CPUs of its largest node."""

    cpus: float
    gpus: float
    largest_node: float


class Running(BaseModel):
    """How one step runs in its actor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    batch_rows: int
    compiled: bool


class Placement(BaseModel):
    """What one actor gets, with every default filled in, and the steps that it takes, in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[Running, ...]
    gpus: float
    cpus: float
    threads: int
    actors: Actors

    @property
    def name(self) -> str:
        """The steps' names."""
        return " + ".join(running.step for running in self.steps)


def place(stages: Sequence[Mapping[str, Resources]], heavy: set[str], capacity: Capacity) -> list[Placement]:
    """Give every stage its share of what is there.

    An actor with models has a whole GPU where there is one for each, or an equal share. The CPUs that readers and
    writers leave are shared by all actors; where there is a GPU to compute with, one is enough. An actor computes with
    as many threads as it has whole CPUs.

    Args:
        stages: for the actors of each pool, what their steps ask for, by step; the largest counts.
        heavy: the steps with models.
        capacity: what is there.

    Raises:
        ResourceError: the least number of actors can never run at once.
    """
    needs = [_largest(list(stage.values())) for stage in stages]
    with_models = [not heavy.isdisjoint(stage) for stage in stages]
    spare = max(capacity.cpus - 2 * IO_CPUS, 0.1)
    share = spare / max(sum(need.pool.min for need in needs), 1)
    users = sum(need.pool.min for need, has_models in zip(needs, with_models, strict=True) if has_models)
    gpu_share = min(1.0, capacity.gpus / max(users, 1))
    placed = []
    for stage, need, has_models in zip(stages, needs, with_models, strict=True):
        gpus = need.gpus if need.gpus is not None else _rounded(gpu_share) if has_models else 0.0
        most = capacity.largest_node if has_models and not gpus else 1.0
        cpus = need.cpus if need.cpus is not None else _rounded(min(share, most))
        steps = [
            Running(step=step, batch_rows=asked.batch_rows, compiled=asked.compile) for step, asked in stage.items()
        ]
        threads = need.threads or max(1, int(cpus))
        placed.append(Placement(steps=tuple(steps), gpus=gpus, cpus=cpus, threads=threads, actors=need.pool))
    _refuse("CPUs", [(item.name, item.cpus, item.actors.min) for item in placed], capacity.cpus - 2 * IO_CPUS)
    _refuse("GPUs", [(item.name, item.gpus, item.actors.min) for item in placed], capacity.gpus)
    return placed


def _largest(asked: Sequence[Resources]) -> Resources:
    """What an actor needs that takes steps with these needs one after another."""
    return Resources(
        gpus=_most(each.gpus for each in asked),
        cpus=_most(each.cpus for each in asked),
        threads=_most(each.threads for each in asked),
        actors=Actors(min=max(each.pool.min for each in asked), max=max(each.pool.max for each in asked)),
    )


def _most(asked: Iterable[_Number | None]) -> _Number | None:
    return max((each for each in asked if each is not None), default=None)


def _rounded(share: float) -> float:
    return int(share * 100) / 100


def _refuse(what: str, needs: list[tuple[str, float, int]], there: float) -> None:
    total = sum(each * count for _, each, count in needs)
    if total > there + 1e-6:
        steps = ", ".join(f"{step} {each:g} x {count}" for step, each, count in needs if each)
        raise ResourceError(
            f"the steps need {total:g} {what} at once ({steps}) and there are {max(there, 0):g} for them; "
            "ask for less in `resources`, or run on a larger cluster"
        )
