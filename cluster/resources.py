"""What a step's actors need, what is there, and whether the one fits the other before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from operators.errors import ResourceError

IO_CPUS = 0.25
"""CPUs that one reading or writing actor reserves."""


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


class Placement(BaseModel):
    """What one actor of a step gets, with every default filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    gpus: float
    cpus: float
    threads: int
    actors: Actors
    batch_rows: int


def place(wanted: Mapping[str, Resources], heavy: set[str], capacity: Capacity) -> list[Placement]:
    """Give every step its share of what is there.

    A step with models (``heavy``) has a whole GPU where there is one for each actor, or an equal share. The CPUs that
    readers and writers leave are shared by all actors; where there is a GPU to compute with, one is enough. A step
    computes with as many threads as it has whole CPUs.

    Raises:
        ResourceError: the least number of actors can never run at once.
    """
    spare = max(capacity.cpus - 2 * IO_CPUS, 0.1)
    least = {step: asked.pool.min for step, asked in wanted.items()}
    share = spare / max(sum(least.values()), 1)
    gpu_share = min(1.0, capacity.gpus / max(sum(least[step] for step in heavy), 1))
    placed = []
    for step, asked in wanted.items():
        gpus = asked.gpus if asked.gpus is not None else _rounded(gpu_share) if step in heavy else 0.0
        most = capacity.largest_node if step in heavy and not gpus else 1.0
        cpus = asked.cpus if asked.cpus is not None else _rounded(min(share, most))
        placed.append(
            Placement(
                step=step,
                gpus=gpus,
                cpus=cpus,
                threads=asked.threads or max(1, int(cpus)),
                actors=asked.pool,
                batch_rows=asked.batch_rows,
            )
        )
    _refuse("CPUs", [(item.step, item.cpus, item.actors.min) for item in placed], capacity.cpus - 2 * IO_CPUS)
    _refuse("GPUs", [(item.step, item.gpus, item.actors.min) for item in placed], capacity.gpus)
    return placed


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
