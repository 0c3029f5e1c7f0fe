"""What a real cluster says that it has, and what its autoscaler may add."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray._private.worker
from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig

import cluster as ours
from cluster.capacity import Capacity
from cluster.nodes import GIB, capacity


@contextmanager
def autoscaler(**groups: tuple[dict[str, int], int]) -> Iterator[None]:
    """Node groups, each with its resources and its greatest number, as an autoscaler reports them."""
    known = [NodeGroupConfig(name=name, resources=has, max_count=most) for name, (has, most) in groups.items()]
    _report(ClusterConfig(node_group_configs=known))
    try:
        yield
    finally:
        _report(ClusterConfig())


def _report(config: Any) -> None:
    ray._private.worker.global_worker.gcs_client.report_cluster_config(config.SerializeToString())


def told(found: Capacity) -> list[tuple[float, int, int, int]]:
    return [(group.node.cpus, group.node.gpus, group.count, group.most) for group in found.groups]


def test_without_an_autoscaler_a_cluster_is_what_is_there(cluster: str) -> None:
    found = capacity()
    assert told(found) == [(2, 0, 1, 1)]
    assert found.kinds[0].memory * GIB == ray.cluster_resources()["memory"]


def test_nodes_that_the_autoscaler_may_add_count_once(cluster: str) -> None:
    cards = {"CPU": 16, "GPU": 8, "memory": 64 * GIB, "accelerator_type:A100": 1}
    with autoscaler(small=({"CPU": 2}, 3), large=(cards, 2), none=({"CPU": 4}, 0), endless=({"CPU": 1}, -1)):
        found = capacity()
    assert told(found) == [(2, 0, 1, 1), (2, 0, 0, 2), (16, 8, 0, 2), (1, 0, 0, 1000)]
    large = found.groups[2].node
    assert (large.memory, large.accelerators) == (64, ("A100",))
    assert told(capacity()) == [(2, 0, 1, 1)]


def test_a_connection_that_is_there_is_used_and_left_open(cluster: str) -> None:
    with ours.connect():
        assert ray.cluster_resources()["CPU"] == 2
    assert ray.is_initialized()
