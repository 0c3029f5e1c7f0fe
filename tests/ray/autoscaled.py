"""A cluster on this machine whose autoscaler really adds and removes nodes; they are processes, their GPUs numbers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
_HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
_PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
_OF_LAUNCHED = {
    **{f"{where}setup_commands": [] for where in ("", "head_", "worker_")},
    **{f"{where}_start_ray_commands": [] for where in ("head", "worker")},
    "initialization_commands": [],
    "file_mounts": {},
    "cluster_synced_files": [],
}
"""Keys that the autoscaler wants of any provider that is not its own."""
_OBJECTS = 80 * 2**20


@dataclass
class Autoscaled:
    """The cluster, by its head's process."""

    address: str
    head: psutil.Process

    def nodes(self) -> int:
        """Nodes that there are now, besides the head."""
        return sum(process.name() == "raylet" for process in self._processes()) - 1

    def end(self) -> None:
        """End all of it."""
        processes = [self.head, *self._processes()]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=30)

    def _processes(self) -> list[psutil.Process]:
        return [process for process in self.head.children(recursive=True) if process.is_running()]


@contextmanager
def autoscaled(folder: Path, resources: dict[str, Any], most: int) -> Iterator[Autoscaled]:
    """A head without CPUs, and at the most so many nodes with these resources, none to begin with."""
    address = f"127.0.0.1:{_free_port()}"
    config = {
        **_OF_LAUNCHED,
        "cluster_name": "test",
        "max_workers": most,
        "idle_timeout_minutes": 0.2,
        "provider": {"type": "external", "module": _PROVIDER, "head_node_id": _HEAD, "gcs_address": address},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "card": {
                "resources": {**resources, "object_store_memory": _OBJECTS},
                "node_config": {},
                "min_workers": 0,
                "max_workers": most,
            },
        },
    }
    (folder / "cluster.yaml").write_text(json.dumps(config))
    environment = {
        "PYTHONPATH": str(ROOT),
        "RAY_FAKE_CLUSTER": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": _HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "OMP_NUM_THREADS": "1",
    }
    options = ["--head", "--block", "--node-ip-address=127.0.0.1", f"--port={address.split(':')[1]}"]
    options += ["--num-cpus=0", "--num-gpus=0", f"--object-store-memory={_OBJECTS}", "--include-dashboard=false"]
    options += [f"--temp-dir={folder / 'ray'}", f"--autoscaling-config={folder / 'cluster.yaml'}"]
    with (folder / "head.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *options],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    cluster = Autoscaled(address, psutil.Process(process.pid))
    try:
        _await_head(process, folder / "head.log")
        yield cluster
    finally:
        cluster.end()
        process.wait()


def _await_head(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while "Ray runtime started" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
