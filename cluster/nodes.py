"""The nodes of the connected cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import ray

from cluster.capacity import Capacity, Group, Node

GIB = 2**30

_ACCELERATOR = "accelerator_type:"
_HEAD = "node:__internal_head__"


def capacity() -> Capacity:
    """What the connected cluster has now."""
    there = Counter((_node(node["Resources"]), _HEAD in node["Resources"]) for node in ray.nodes() if node["Alive"])
    return Capacity(tuple(Group(node, count, count, head) for (node, head), count in there.items()))


def _node(resources: Mapping[str, Any]) -> Node:
    return Node(
        cpus=float(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
        memory=resources.get("memory", 0) / GIB,
        accelerators=tuple(sorted(_accelerators(resources))),
    )


def _accelerators(resources: Mapping[str, Any]) -> Iterator[str]:
    return (name.removeprefix(_ACCELERATOR) for name in resources if name.startswith(_ACCELERATOR))
