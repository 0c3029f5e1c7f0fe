"""What a step asks for: where it runs, and in how many actors. Nothing of it changes what becomes of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from operators.errors import ResourceError

_Number = TypeVar("_Number", int, float)


class Actors(BaseModel):
    """How many actors a step has: at the least, at the start and at the most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: Annotated[int, Field(ge=1, description="actors that are always there")] = 1
    initial: Annotated[
        int | None, Field(ge=1, description="actors that are started at once; as many as there is room for")
    ] = None
    max: Annotated[
        int | None,
        Field(ge=1, description="actors that are started while work waits; as many as there can be room for"),
    ] = None

    @model_validator(mode="after")
    def _ordered(self) -> Actors:
        if self.max is not None and self.min > self.max:
            raise ValueError(f"min is {self.min}, which is more than max, {self.max}")
        if self.initial is not None and self.initial < self.min:
            raise ValueError(f"initial is {self.initial}, which is less than min, {self.min}")
        if self.initial is not None and self.max is not None and self.initial > self.max:
            raise ValueError(f"initial is {self.initial}, which is more than max, {self.max}")
        return self


class Resources(BaseModel):
    """Where a step runs; what it does to rows is not changed by any of this."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: Annotated[
        float | None, Field(ge=0, description="GPUs of one actor: a whole number, or below 1 a share of one card")
    ] = None
    cpus: Annotated[float | None, Field(gt=0, description="CPUs that one actor reserves")] = None
    memory: Annotated[float | None, Field(gt=0, description="GiB of main memory that one actor reserves")] = None
    accelerator_type: Annotated[
        str | None, Field(min_length=1, description="what its node must have, by Ray's name, as in A100 or H100")
    ] = None
    threads: Annotated[int | None, Field(ge=1, description="threads that one actor computes with")] = None
    actors: Annotated[
        int | Actors | None,
        Field(description="number of actors, or {min, initial, max}; one at the least, and what there is room for"),
    ] = None
    batch_rows: Annotated[int, Field(ge=1, description="rows that go through the networks at once")] = 16
    compile: Annotated[
        bool,
        Field(
            description="compile the networks with torch.compile: slow at the first batch of every shape, faster after"
        ),
    ] = False

    @model_validator(mode="after")
    def _possible(self) -> Resources:
        if isinstance(self.actors, int) and self.actors < 1:
            raise ValueError("actors must be at least 1")
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is {self.gpus:g}; above 1 it must be a whole number")
        return self

    @property
    def pool(self) -> Actors:
        """The number of actors as a range."""
        if self.actors is None:
            return Actors()
        if isinstance(self.actors, Actors):
            return self.actors
        return Actors(min=self.actors, initial=self.actors, max=self.actors)


def largest(asked: Sequence[Resources], name: str) -> Resources:
    """What an actor needs that takes steps with these needs one after another.

    Args:
        asked: what each step asks for.
        name: what the steps are called together.

    Raises:
        ResourceError: the steps want accelerators of several types.
    """
    types = list(dict.fromkeys(each.accelerator_type for each in asked if each.accelerator_type))
    if len(types) > 1:
        raise ResourceError(f"{name} share an actor, which can't have accelerators of type {' and '.join(types)} both")
    least = max(each.pool.min for each in asked)
    most = _most(each.pool.max for each in asked)
    first = _most(each.pool.initial for each in asked)
    return Resources(
        gpus=_most(each.gpus for each in asked),
        cpus=_most(each.cpus for each in asked),
        memory=_most(each.memory for each in asked),
        accelerator_type=types[0] if types else None,
        threads=_most(each.threads for each in asked),
        actors=Actors(
            min=least,
            initial=None if first is None else max(first, least),
            max=None if most is None else max(most, least, first or 0),
        ),
    )


def _most(asked: Iterable[_Number | None]) -> _Number | None:
    return max((each for each in asked if each is not None), default=None)
