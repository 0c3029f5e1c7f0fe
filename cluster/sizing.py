"""What actors get of the connected cluster, as it is or as its autoscaler can make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from cluster.autoscaler import Autoscaler
from cluster.capacity import Capacity
from cluster.nodes import capacity
from cluster.placement import IO, Placement, place, wanted_nodes
from cluster.resources import Resources
from operators.errors import ResourceError

_MANY = 1000
"""Nodes of a kind, where nobody knows how many there can be."""


def sized(
    stages: Sequence[Mapping[str, Resources]], heavy: set[str], measured: Mapping[str, float] = MappingProxyType({})
) -> list[Placement]:
    """Place the steps; arguments and errors as for :func:`cluster.placement.place`.

    Where there is an autoscaler it is asked first for a node of each kind that a step needs and no node is of. Then
    there may be as many of its nodes as one likes, but the least of all actors must fit at once on what is there, or
    on what it says that it can bring; if need be with shares of one card for steps that ask for no number of GPUs.
    """
    there = capacity()
    if not Autoscaler.there():
        return place(stages, heavy, there, measured)
    autoscaler = Autoscaler()
    kinds = [node for node in wanted_nodes(stages, heavy, there) if autoscaler.can_bring([node.whole])]
    whole = place(stages, heavy, there.grown(kinds, _MANY), measured)
    if _fits(whole, there, autoscaler):
        return whole
    with suppress(ResourceError):
        shared = place(stages, heavy, there.grown(kinds, 1), measured)
        if _fits(shared, there, autoscaler):
            return shared
    needs = ", ".join(f"{each.name} {each.bundle} x {each.actors.min}" for each in whole)
    raise ResourceError(
        f"the least of all actors ({needs}) is more than there is and the autoscaler can bring; "
        "ask for less in `resources`, or let it have more nodes"
    )


def _fits(placements: Sequence[Placement], there: Capacity, autoscaler: Autoscaler) -> bool:
    least = [placement.bundle for placement in placements for _ in range(placement.actors.min)] + [IO, IO]
    return there.now().take_all(least) or autoscaler.can_bring(least)
