"""A Ray head as a user starts one, in a virtual environment of its own, with a dashboard that wants a token."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "object-manager-port", "node-manager-port")
_SECONDS = 120.0


@dataclass(frozen=True)
class Head:
    """A head that runs."""

    address: str
    environment: Mapping[str, str]
    """What a client needs to be let in."""


@contextmanager
def head(folder: Path, cpus: int = 2) -> Iterator[Head]:
    """A head for as long as the block lasts, on loopback only, whose Python has all packages but Latentmill."""
    python = bare_environment(folder / "head")
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    access = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex()}
    names = ("PYTHONPATH", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {**access, "PATH": f"{python.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    # Unix sockets lie in it, whose paths must be short.
    place = tempfile.TemporaryDirectory(prefix="lm", dir="/tmp", ignore_cleanup_errors=True)
    with place as temporary, (folder / "head.log").open("wb") as log:
        options = {**ports, "num-cpus": cpus, "node-ip-address": "127.0.0.1", "dashboard-host": "127.0.0.1"}
        options |= {"object-store-memory": 100 * 2**20, "temp-dir": temporary}
        command = [python, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
        command += [f"--{name}={value}" for name, value in options.items()]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            _wait_for(process, folder / "head.log", ports["dashboard-port"])
            yield Head(f"http://127.0.0.1:{ports['dashboard-port']}", access)
        finally:
            _end(process)


def bare_environment(folder: Path) -> Path:
    """A virtual environment that sees the packages of this one, but not those that are installed for editing.

    Returns:
        Its Python.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python3"


def _wait_for(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            if b"Ray runtime started" in log.read_bytes():
                return
        time.sleep(0.1)
    raise RuntimeError(f"the head did not come up: {log.read_text()[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the head and what it has started, each by its id."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        processes = [*parent.children(recursive=True), parent]
        for each in processes:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(processes, timeout=10)
    process.wait()


def _free_ports(count: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in listening]
    for each in listening:
        each.close()
    return ports
