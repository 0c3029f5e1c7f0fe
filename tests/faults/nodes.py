"""A Ray cluster of several nodes on this machine, in a process of its own; its nodes and workers can be killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
_WORKERS = ("ray::MapWorker", "ray::_Notes")
"""How the processes of a job are named; Ray's own (statistics, autoscaling) are beside them."""
_NODE = {"node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20}
_PREEMPTION = 2


class Nodes:
    """A head without CPUs, where drivers connect, and nodes that work; GPUs are numbers that Ray counts, no cards."""

    def __init__(self, environment: dict[str, str], log: Path, nodes: int = 2, cpus: int = 2, gpus: int = 0) -> None:
        # In a folder of its own, so that no other `ray.init()` on this machine takes it for its cluster.
        places = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_TMPDIR": str(log.parent)}
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.nodes", str(nodes), str(cpus), str(gpus)],
                cwd=ROOT,
                env={**os.environ, **places, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._state = self._told()

    @property
    def address(self) -> str:
        """Where drivers connect."""
        return str(self._state["address"])

    @property
    def ids(self) -> list[str]:
        """Ray's names of the nodes that work."""
        return list(self._state["ids"])

    def kill_node(self, rng: random.Random) -> None:
        """End a node's processes all at once, and let a new node join."""
        self.kill(rng.randrange(len(self._state["raylets"])))

    def kill(self, at: int) -> None:
        """The same for one of them."""
        self._ask({"do": "kill", "at": at})

    def drain(self, at: int, seconds: float) -> None:
        """Tell a node that it will be taken away in so many seconds."""
        self._ask({"do": "drain", "at": at, "seconds": seconds})

    def join(self) -> None:
        """Let one more node join."""
        self._ask({"do": "join"})

    def leave(self, at: int) -> None:
        """End a node's processes, and let none come in its place."""
        self._ask({"do": "leave", "at": at})

    def mend(self) -> None:
        """Let new nodes join for those that Ray has given up, as it does on a machine that is too busy."""
        self._ask({"do": "mend"})

    def kill_worker(self, rng: random.Random) -> bool:
        """End a process that works on rows, reads, commits or takes notes, if there is one."""
        with suppress(IndexError, psutil.NoSuchProcess):
            rng.choice(list(self._workers())).kill()
            return True
        return False

    def kill_all_workers(self) -> int:
        """End all of them; how many there were."""
        workers = list(self._workers())
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        return len(workers)

    def _workers(self) -> Iterator[psutil.Process]:
        for raylet in [self._state["head"], *self._state["raylets"]]:
            for process in psutil.Process(raylet).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if " ".join(process.cmdline()).startswith(_WORKERS):
                        yield process

    def stop(self) -> None:
        """End it."""
        self._process.communicate()

    def _ask(self, order: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._state = self._told()

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout
        told = self._process.stdout.readline()
        if not told:
            raise RuntimeError(f"the cluster ended: {self._log.read_text()[-3000:]}")
        return dict(json.loads(told))


@contextmanager
def ray_nodes(environment: dict[str, str], log: Path, nodes: int = 2, cpus: int = 2, gpus: int = 0) -> Iterator[Nodes]:
    """A cluster for as long as the block lasts; its workers have the environment."""
    cluster = Nodes(environment, log, nodes, cpus, gpus)
    try:
        yield cluster
    finally:
        cluster.stop()


def serve(count: int, cpus: int, gpus: int) -> None:
    """Be the process that holds the cluster, until nobody asks any more."""
    from ray.cluster_utils import Cluster

    answers, sys.stdout = sys.stdout, sys.stderr
    head = {**_NODE, "num_cpus": 0, "num_gpus": 0, "include_dashboard": False}
    worker = {**_NODE, "num_cpus": cpus, "num_gpus": gpus}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [_joined(cluster, worker) for _ in range(count)]
    try:
        while True:
            state = {
                "address": cluster.address,
                "head": _raylet(cluster.head_node),
                "raylets": [_raylet(node) for node in nodes],
                "ids": [node.node_id for node in nodes],
            }
            print(json.dumps(state), file=answers, flush=True)
            line = sys.stdin.readline()
            if not line:
                return
            match json.loads(line):
                case {"do": "kill", "at": at}:
                    _end(_raylet(nodes[at]))
                case {"do": "drain", "at": at, "seconds": seconds}:
                    _drain(cluster, nodes[at].node_id, seconds)
                case {"do": "leave", "at": at}:
                    node = nodes.pop(at)
                    _end(_raylet(node))
                    cluster.remove_node(node, allow_graceful=False)
                case {"do": "join"}:
                    nodes.append(_joined(cluster, worker))
            nodes = [node if _lives(node) else _replaced(cluster, node, worker) for node in nodes]
    finally:
        cluster.shutdown()


def _replaced(cluster: Any, node: Any, worker: dict[str, Any]) -> Any:
    """A new node for one that was killed, or that Ray has given up on a busy machine."""
    cluster.remove_node(node, allow_graceful=False)
    return _joined(cluster, worker)


def _joined(cluster: Any, worker: dict[str, Any]) -> Any:
    node = cluster.add_node(wait=False, **worker)
    while _lives(node):
        if node.node_id in cluster.global_state._live_node_ids():
            return node
        time.sleep(0.1)
    return _replaced(cluster, node, worker)


def _drain(cluster: Any, node_id: str, seconds: float) -> None:
    deadline = int((time.time() + seconds) * 1000)
    accepted, reason = cluster.head_node.get_gcs_client().drain_node(node_id, _PREEMPTION, "for a test", deadline)
    assert accepted, reason


def _lives(node: Any) -> bool:
    (process,) = node.all_processes["raylet"]
    return process.process.poll() is None


def _raylet(node: Any) -> int:
    (process,) = node.all_processes["raylet"]
    return int(process.process.pid)


def _end(raylet: int) -> None:
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(raylet)
        processes = [parent, *parent.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes)


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:]))
