"""What a cluster has, node by node, and what of it an actor takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat, takewhile

_TINY = 1e-6
"""Shares of a card are decimals: three thirds of it are one card all the same."""


@dataclass(frozen=True)
class Bundle:
    """What one actor reserves, all of it on one node.

    Attributes:
        cpus: CPUs.
        gpus: GPUs; below 1 a share of one card.
        memory: GiB of main memory.
        accelerator: the type that its node must have, as Ray calls it; any, or none at all, where this is empty.
    """

    cpus: float
    gpus: float = 0.0
    memory: float = 0.0
    accelerator: str = ""

    def __str__(self) -> str:
        parts = [
            f"{self.gpus:g} GPU{'s' * (self.gpus > 1)}" * bool(self.gpus),
            f"{self.cpus:g} CPU{'s' * (self.cpus > 1)}" * bool(self.cpus),
            f"{self.memory:g} GiB of memory" * bool(self.memory),
            f"an accelerator of type {self.accelerator}" * bool(self.accelerator),
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Node:
    """What one node has; units as in :class:`Bundle`."""

    cpus: float
    gpus: int = 0
    memory: float = 0.0
    accelerators: tuple[str, ...] = ()

    @property
    def whole(self) -> Bundle:
        """All that it has, for one actor."""
        return Bundle(self.cpus, self.gpus, self.memory, next(iter(self.accelerators), ""))

    def holds(self, bundle: Bundle) -> bool:
        """Whether an actor fits on such a node that has nothing else to do."""
        return _Room(self).take(bundle)


@dataclass(frozen=True)
class Group:
    """Nodes of one kind: how many there are, and to how many the autoscaler may bring them."""

    node: Node
    count: int
    most: int
    head: bool = False
    """Whether it is the cluster's head, of which there is only one."""


@dataclass(frozen=True)
class Capacity:
    """The nodes of a cluster."""

    groups: tuple[Group, ...]
    grows: bool = False
    """Whether an autoscaler may add nodes."""

    @classmethod
    def of(cls, *nodes: Node) -> Capacity:
        """A cluster of these nodes, which stays as it is."""
        return cls(tuple(Group(node, 1, 1) for node in nodes))

    @property
    def kinds(self) -> list[Node]:
        """A node of every kind that there is or may be."""
        return [group.node for group in self.groups if group.most]

    @property
    def cpus(self) -> float:
        """CPUs that there may be in all."""
        return sum(group.node.cpus * group.most for group in self.groups)

    @property
    def gpus(self) -> int:
        """GPUs that there may be in all."""
        return sum(group.node.gpus * group.most for group in self.groups)

    @property
    def memory(self) -> float:
        """GiB of main memory that there may be in all."""
        return sum(group.node.memory * group.most for group in self.groups)

    def grown(self, kinds: Sequence[Node], most: int) -> Capacity:
        """The same cluster when an autoscaler may add nodes.

        Args:
            kinds: what nodes it can bring that are of no kind that is there.
            most: to how many it may bring them, and each kind that is there.
        """
        there = (group if group.head else replace(group, most=max(group.count, most)) for group in self.groups)
        return Capacity((*there, *(Group(node, 0, most) for node in kinds)), grows=True)

    def now(self) -> Rooms:
        """The nodes that are there, empty."""
        return Rooms(group.node for group in self.groups for _ in range(group.count))

    def ever(self) -> Rooms:
        """The nodes that may be there, empty."""
        return Rooms(group.node for group in self.groups for _ in range(group.most))


class Rooms:
    """What is free on every node while actors are put there one by one, each on the first node that has room.

    Nodes without GPUs are filled first. This may miss a way to fit all actors that another order would find, but Ray,
    which never moves an actor, would not find it either.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._rooms = [_Room(node) for node in sorted(nodes, key=lambda node: (node.gpus, node.cpus))]
        self._first: dict[Bundle, int] = {}

    def take(self, bundle: Bundle) -> bool:
        """Put an actor somewhere, if there is room."""
        # Rooms only fill up: where an actor found none, another one of its kind won't either.
        for at in range(self._first.get(bundle, 0), len(self._rooms)):
            if self._rooms[at].take(bundle):
                self._first[bundle] = at
                return True
        self._first[bundle] = len(self._rooms)
        return False

    def take_all(self, bundles: Iterable[Bundle]) -> bool:
        """Put actors there, those first that need most; False as soon as one finds no room."""
        return all(self.take(bundle) for bundle in sorted(bundles, key=_size, reverse=True))

    def fill(self, bundle: Bundle) -> int:
        """Put as many actors there as find room; how many these are."""
        return sum(1 for _ in takewhile(self.take, repeat(bundle)))


@dataclass
class _Room:
    """What is free on one node."""

    node: Node
    cpus: float = field(init=False)
    memory: float = field(init=False)
    cards: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.cpus, self.memory, self.cards = self.node.cpus, self.node.memory, [1.0] * self.node.gpus

    def take(self, bundle: Bundle) -> bool:
        cards = self._cards(bundle.gpus)
        fits = (
            cards is not None
            and bundle.cpus <= self.cpus + _TINY
            and bundle.memory <= self.memory + _TINY
            and (not bundle.accelerator or bundle.accelerator in self.node.accelerators)
        )
        if fits:
            self.cpus -= bundle.cpus
            self.memory -= bundle.memory
            self.cards = cards or []
        return fits

    def _cards(self, gpus: float) -> list[float] | None:
        """What is left of the cards: a share is one of a single card, the fullest that will do."""
        left, share = sorted(self.cards), min(gpus, 1.0)
        needed = max(1, round(gpus)) if gpus else 0
        places = [at for at, free in enumerate(left) if free + _TINY >= share][:needed]
        for at in places:
            left[at] -= share
        return left if len(places) == needed else None


def _size(bundle: Bundle) -> tuple[bool, float, float, float]:
    return bool(bundle.accelerator), bundle.gpus, bundle.memory, bundle.cpus
