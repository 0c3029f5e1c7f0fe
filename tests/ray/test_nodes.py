"""What a real cluster says that it has."""

from __future__ import annotations

import ray

import cluster as ours
from cluster.autoscaler import Autoscaler
from cluster.capacity import Capacity
from cluster.nodes import GIB, capacity


def told(found: Capacity) -> list[tuple[float, int, int, int]]:
    return [(group.node.cpus, group.node.gpus, group.count, group.most) for group in found.groups]


def test_a_cluster_without_an_autoscaler_is_what_is_there(cluster: str) -> None:
    assert not Autoscaler.there()
    found = capacity()
    assert told(found) == [(2, 0, 1, 1)]
    assert found.kinds[0].memory * GIB == ray.cluster_resources()["memory"]


def test_a_connection_that_is_there_is_used_and_left_open(cluster: str) -> None:
    with ours.connect():
        assert ray.cluster_resources()["CPU"] == 2
    assert ray.is_initialized()
