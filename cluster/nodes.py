"""The nodes of the connected cluster, and those that its autoscaler may add."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import ray
import ray._private.state

from cluster.capacity import Capacity, Group, Node

GIB = 2**30

_ACCELERATOR = "accelerator_type:"
_MANY = 1000
"""Nodes of a group that has no limit."""


def capacity() -> Capacity:
    """What the connected cluster has, and what its autoscaler may add."""
    there = Counter(_node(node["Resources"]) for node in ray.nodes() if node["Alive"])
    limits = _limits()
    for node, count in there.items():
        _take_off(limits, node, count)
    groups = [Group(node, count, count) for node, count in there.items()]
    return Capacity((*groups, *(Group(node, 0, most) for node, most in limits if most)))


def _limits() -> list[tuple[Node, int]]:
    """The kinds of nodes of the autoscaler, and how many it may have of each; none without an autoscaler.

    Ray has no public call that tells it.
    """
    config = ray._private.state.state.get_cluster_config()
    groups = config.node_group_configs if config else []
    return [(_node(group.resources), group.max_count if group.max_count >= 0 else _MANY) for group in groups]


def _take_off(limits: list[tuple[Node, int]], node: Node, count: int) -> None:
    """Count nodes that are there in the first kinds that have as many CPUs and GPUs."""
    for at, (kind, most) in enumerate(limits):
        if (kind.cpus, kind.gpus) == (node.cpus, node.gpus):
            taken = min(count, most)
            limits[at], count = (kind, most - taken), count - taken


def _node(resources: Mapping[str, Any]) -> Node:
    return Node(
        cpus=float(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
        memory=resources.get("memory", 0) / GIB,
        accelerators=tuple(sorted(_accelerators(resources))),
    )


def _accelerators(resources: Mapping[str, Any]) -> Iterator[str]:
    return (name.removeprefix(_ACCELERATOR) for name in resources if name.startswith(_ACCELERATOR))
