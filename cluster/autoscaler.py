"""What the cluster's autoscaler can bring. Ray tells nobody its limits, so it is asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import ray
import ray._private.worker
from ray.autoscaler.v2.sdk import request_cluster_resources
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

from cluster.capacity import Bundle
from cluster.nodes import GIB
from operators.errors import ResourceError

_SECONDS = 60.0
"""In which it must answer; it looks every five seconds, and may have just begun."""
_LOOK_SECONDS = 0.1
_SOME = 0.001
"""What a node's accelerator has to be asked for: Ray counts it as a resource of which a node has one."""


class Autoscaler:
    """The second version of Ray's autoscaler, of the connected cluster."""

    def __init__(self) -> None:
        self._address = ray.get_runtime_context().gcs_address

    @staticmethod
    def there() -> bool:
        """Whether the connected cluster has one."""
        return bool(is_autoscaler_v2(fetch_from_server=True, gcs_client=_client()))

    def can_bring(self, bundles: Sequence[Bundle]) -> bool:
        """Whether it can bring the cluster to hold all of these at once, with what is there.

        What lacks for it is on its way then: who asks is about to need it.

        Raises:
            ResourceError: it does not answer.
        """
        asked = [_resources(bundle) for bundle in bundles]
        request_cluster_resources(self._address, [{"resources": each} for each in asked])
        try:
            refused = self._answer().infeasible_cluster_resource_constraints
        finally:
            # It would hold nodes for a request that stands, long after the job.
            request_cluster_resources(self._address, [])
        # Ray keeps one request for the whole cluster, so what is refused may be that of another job.
        return not any(_shapes(each) == Counter(map(_shape, asked)) for each in refused)

    def _answer(self) -> Any:
        """What it found when it had looked at the cluster, as that is now."""
        deadline, now = time.monotonic() + _SECONDS, self._status().cluster_resource_state
        while time.monotonic() < deadline:
            found = self._status().autoscaling_state
            if found.last_seen_cluster_resource_state_version > now.cluster_resource_state_version:
                return found
            time.sleep(_LOOK_SECONDS)
        raise ResourceError(f"the cluster's autoscaler has not answered for {_SECONDS:g} s; see its log")

    def _status(self) -> Any:
        reply = GetClusterStatusReply()
        reply.ParseFromString(_client().get_cluster_status(timeout_s=_SECONDS))
        return reply


def _client() -> Any:
    return ray._private.worker.global_worker.gcs_client


def _shape(resources: Mapping[str, float]) -> frozenset[tuple[str, float]]:
    return frozenset(resources.items())


def _shapes(constraint: Any) -> Counter[frozenset[tuple[str, float]]]:
    counts = Counter[frozenset[tuple[str, float]]]()
    for each in constraint.resource_requests:
        counts[_shape(each.request.resources_bundle)] += each.count
    return counts


def _resources(bundle: Bundle) -> dict[str, float]:
    wanted = {
        "CPU": bundle.cpus,
        "GPU": bundle.gpus,
        "memory": bundle.memory * GIB,
        f"accelerator_type:{bundle.accelerator}": _SOME if bundle.accelerator else 0.0,
    }
    return {name: amount for name, amount in wanted.items() if amount}
