"""What the actors of every stage get, and whether a cluster can ever hold them, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from cluster.capacity import Bundle, Capacity, Node
from cluster.resources import Resources, largest
from operators.errors import ResourceError

IO = Bundle(cpus=0.25)
"""What one reading or writing actor reserves."""

_BOTH_IO = [IO, IO]
_ELSE = "ask for less in `resources`, or run on a larger cluster"
_TINY = 1e-6
_PARTS = (0.25, 0.5)
"""Parts of a card that actors get by what they were measured to take; any mixture of them fills cards."""
_ROOM_TO_SPARE = 1.2
"""Rows differ, and what the allocator holds is in pieces."""


class Running(BaseModel):
    """How one step runs in its actor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    batch_rows: int
    compiled: bool


class Pool(BaseModel):
    """Numbers of actors: always there, started at once, and started while work waits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: int
    initial: int
    max: int


class Placement(BaseModel):
    """What one actor gets, with every default filled in, and the steps that it takes, in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[Running, ...]
    gpus: float
    cpus: float
    memory: float
    accelerator_type: str | None
    threads: int
    actors: Pool

    @property
    def name(self) -> str:
        """The steps' names."""
        return " + ".join(running.step for running in self.steps)

    @property
    def bundle(self) -> Bundle:
        """What one actor reserves."""
        return Bundle(self.cpus, self.gpus, self.memory, self.accelerator_type or "")


def wanted_nodes(stages: Sequence[Mapping[str, Resources]], heavy: set[str], capacity: Capacity) -> list[Node]:
    """Nodes that would hold an actor of each stage, where no node that is there does.

    A step with models that asks for no number of GPUs would rather have one.
    """
    wanted = [_Stage.of(stage, heavy, {}) for stage in stages]
    nodes = dict.fromkeys(_node_for(stage.bundle(1.0, 1.0)) for stage in wanted)
    return [node for node in nodes if not any(kind.holds(node.whole) for kind in capacity.kinds)]


def _node_for(bundle: Bundle) -> Node:
    """A node with room for an actor, a reader and a writer."""
    accelerators = (bundle.accelerator,) * bool(bundle.accelerator)
    return Node(bundle.cpus + 2 * IO.cpus, ceil(bundle.gpus), bundle.memory, accelerators)


def place(
    stages: Sequence[Mapping[str, Resources]],
    heavy: set[str],
    capacity: Capacity,
    measured: Mapping[str, float] = MappingProxyType({}),
) -> list[Placement]:
    """Give every stage its share of what there is, or may be.

    An actor with models has a whole GPU where there is one for each stage, or an equal share of one; and less where it
    was measured to need no more than a half or a quarter of its card's memory, with room to spare. Without GPUs, the
    processors of a node are shared by as few actors as will do; beside a GPU, one CPU is enough. An actor computes with
    as many threads as it has whole CPUs. A stage has as many actors as there is room for beside the least of the
    others: those with models or GPUs at once, an equal number each, the others while work waits. Without GPUs a stage
    with models has no more than one on each node, since memory is then what is short.

    Args:
        stages: for the actors of each pool, what their steps ask for, by step; the largest counts.
        heavy: the steps with models.
        capacity: what there is.
        measured: the greatest share of its card's memory, 0..1, that an actor is known to take in a step.

    Raises:
        ResourceError: an actor fits on no node, or the least number of actors can never run at once.
    """
    wanted = [_Stage.of(stage, heavy, measured) for stage in stages]
    for stage in wanted:
        _refuse_too_large(stage, capacity)
    bundles = _fitting(wanted, capacity)
    starting = _starting(wanted, bundles, capacity)
    return [
        Placement(
            steps=stage.steps,
            gpus=bundle.gpus,
            cpus=bundle.cpus,
            memory=bundle.memory,
            accelerator_type=stage.asked.accelerator_type,
            threads=stage.asked.threads or max(1, int(bundle.cpus)),
            actors=_pool(stage, initial, _most(at, wanted, bundles, capacity)),
        )
        for at, (stage, bundle, initial) in enumerate(zip(wanted, bundles, starting, strict=True))
    ]


@dataclass(frozen=True)
class _Stage:
    steps: tuple[Running, ...]
    asked: Resources
    has_models: bool
    card: float
    """What it needs of a card, as far as that is known."""

    @classmethod
    def of(cls, stage: Mapping[str, Resources], heavy: set[str], measured: Mapping[str, float]) -> _Stage:
        steps = [Running(step=step, batch_rows=each.batch_rows, compiled=each.compile) for step, each in stage.items()]
        asked = largest(list(stage.values()), " + ".join(stage))
        known = max((measured[step] for step in stage if step in measured), default=1.0)
        card = min((part for part in _PARTS if part >= known * _ROOM_TO_SPARE), default=1.0)
        return cls(tuple(steps), asked, not heavy.isdisjoint(stage), card)

    @property
    def name(self) -> str:
        return " + ".join(running.step for running in self.steps)

    @property
    def least(self) -> int:
        return self.asked.pool.min

    @property
    def wants_gpu(self) -> bool:
        """Whether it gets a share of the GPUs, without a number of its own."""
        return self.has_models and self.asked.gpus is None

    def bundle(self, gpus: float, cpus: float) -> Bundle:
        """What one actor reserves, given what it gets unless it asks otherwise."""
        asked = self.asked
        return Bundle(
            gpus=(min(gpus, self.card) if self.has_models else 0.0) if asked.gpus is None else asked.gpus,
            cpus=cpus if asked.cpus is None else asked.cpus,
            memory=asked.memory or 0.0,
            accelerator=asked.accelerator_type or "",
        )


def _fitting(stages: Sequence[_Stage], capacity: Capacity) -> list[Bundle]:
    """What each stage's actors get: the largest shares with which the least number of actors fits.

    Raises:
        ResourceError: there are none.
    """
    gpus = _gpu_share(stages, capacity)
    bundles: list[Bundle] = []
    for actors_a_node in range(1, max(_least(stages), 1) + 1):
        bundles = [_bundle(stage, gpus, actors_a_node, stages, capacity) for stage in stages]
        if capacity.ever().take_all([*_minimum(stages, bundles), *_BOTH_IO]):
            return bundles
    _refuse_too_many(stages, bundles, capacity)
    raise ResourceError(f"the steps' actors {_listed(stages, bundles)} fit on no nodes side by side; {_ELSE}")


def _gpu_share(stages: Sequence[_Stage], capacity: Capacity) -> float:
    """A share of one card, so that as many as there must be at once fit on the cards that there are."""
    users = sum(stage.least for stage in stages if stage.wants_gpu)
    return _rounded(1 / ceil(max(users, 1) / capacity.gpus)) if capacity.gpus else 0.0


def _bundle(stage: _Stage, gpus: float, actors_a_node: int, stages: Sequence[_Stage], capacity: Capacity) -> Bundle:
    bare = stage.bundle(gpus, 0.0)
    nodes = [node for node in capacity.kinds if node.holds(bare)]
    cpus = max((_spare(node) for node in nodes), default=0.0) / actors_a_node
    beside = sum(other.least for other in stages if not (other.has_models or other.asked.gpus))
    return stage.bundle(gpus, max(_rounded(min(cpus, _enough(stage, bare, beside, nodes))), 0.01))


def _enough(stage: _Stage, bare: Bundle, beside: int, nodes: Sequence[Node]) -> float:
    """CPUs that an actor has use for: all it can get where it computes with them; otherwise one.

    Beside a GPU it is less where CPUs are few, so that all GPUs can be used.
    """
    if not bare.gpus:
        return inf if stage.has_models else 1.0
    return min([1.0, *(_spare(node) / (int(node.gpus / bare.gpus + _TINY) + beside) for node in nodes)])


def _spare(node: Node) -> float:
    """The CPUs of a node that a reader and a writer leave."""
    return max(node.cpus - 2 * IO.cpus, 0.0)


def _starting(stages: Sequence[_Stage], bundles: Sequence[Bundle], capacity: Capacity) -> list[int]:
    """Numbers of actors to start with: on what is there now, an equal number for all that have models or GPUs."""
    rooms, started = capacity.now(), [stage.least for stage in stages]
    limits = [_limit(stage, bundle, capacity) for stage, bundle in zip(stages, bundles, strict=True)]
    growing = [at for at, stage in enumerate(stages) if stage.has_models or bundles[at].gpus]
    if not rooms.take_all([*_minimum(stages, bundles), *_BOTH_IO]):
        return started
    while growing:
        growing = [at for at in growing if started[at] < limits[at] and rooms.take(bundles[at])]
        for at in growing:
            started[at] += 1
    return started


def _most(at: int, stages: Sequence[_Stage], bundles: Sequence[Bundle], capacity: Capacity) -> int:
    """The number of actors for which there can be room beside the least of the other stages."""
    rooms = capacity.ever()
    rooms.take_all([*_minimum(stages, bundles), *_BOTH_IO])
    room = stages[at].least + rooms.fill(bundles[at])
    return int(min(room, _limit(stages[at], bundles[at], capacity)))


def _limit(stage: _Stage, bundle: Bundle, capacity: Capacity) -> float:
    """The number of actors that a stage shall not go beyond, whatever room there is."""
    if stage.asked.pool.max is not None:
        return stage.asked.pool.max
    if bundle.gpus or not stage.has_models:
        return inf
    return max(stage.least, sum(group.most for group in capacity.groups if group.node.holds(bundle)))


def _pool(stage: _Stage, initial: int, most: int) -> Pool:
    asked = stage.asked.pool
    first = asked.initial or initial
    return Pool(min=asked.min, initial=first, max=asked.max or max(most, first))


def _minimum(stages: Sequence[_Stage], bundles: Sequence[Bundle]) -> Iterator[Bundle]:
    for stage, bundle in zip(stages, bundles, strict=True):
        yield from [bundle] * stage.least


def _least(stages: Sequence[_Stage]) -> int:
    return sum(stage.least for stage in stages)


def _rounded(share: float) -> float:
    return int(share * 100 + _TINY) / 100


def _refuse_too_large(stage: _Stage, capacity: Capacity) -> None:
    """Refuse an actor that fits on no node, with what is missing."""
    bundle = stage.bundle(0.0, 0.0)
    if any(node.holds(bundle) for node in capacity.kinds):
        return
    lacks = list(_lacks(bundle, capacity.kinds)) or [f"{bundle} together, which no node has"]
    added = ", nor can the autoscaler bring one" * capacity.grows
    raise ResourceError(f"an actor of {stage.name} needs {'; and '.join(lacks)}{added}; {_ELSE}")


def _lacks(bundle: Bundle, nodes: Sequence[Node]) -> Iterator[str]:
    """What an actor needs of one kind and no node has."""
    for what, there in (
        (Bundle(0.0, gpus=bundle.gpus), [each.gpus for each in nodes]),
        (Bundle(bundle.cpus), [each.cpus for each in nodes]),
        (Bundle(0.0, memory=bundle.memory), [each.memory for each in nodes]),
    ):
        if not any(each.holds(what) for each in nodes):
            yield f"{what}, and the most that a node has is {max(there, default=0):g}"
    if bundle.accelerator and not any(bundle.accelerator in each.accelerators for each in nodes):
        types = sorted({name for each in nodes for name in each.accelerators})
        yield f"{replace(bundle, cpus=0.0, gpus=0.0, memory=0.0)}, and there is {', '.join(types) or 'none'}"


def _refuse_too_many(stages: Sequence[_Stage], bundles: Sequence[Bundle], capacity: Capacity) -> None:
    """Refuse actors that need more in all than there is, with how much that is."""
    users = [(stage.name, bundle, stage.least) for stage, bundle in zip(stages, bundles, strict=True)]
    users.append(("reading and writing", IO, len(_BOTH_IO)))
    for what, attribute in (("GPUs", "gpus"), ("CPUs", "cpus"), ("GiB of memory", "memory")):
        there = float(getattr(capacity, attribute))
        needs = [(name, getattr(bundle, attribute), count) for name, bundle, count in users]
        total = sum(need * count for _, need, count in needs)
        if total > there + _TINY:
            each = ", ".join(f"{name} {need:g} x {count}" for name, need, count in needs if need)
            raise ResourceError(f"the job needs {total:g} {what} at once ({each}) and there are {there:g}; {_ELSE}")


def _listed(stages: Sequence[_Stage], bundles: Sequence[Bundle]) -> str:
    told = [f"{stage.name} x {stage.least}: {b}" for stage, b in zip(stages, bundles, strict=True)]
    return f"({'; '.join(told)})"
