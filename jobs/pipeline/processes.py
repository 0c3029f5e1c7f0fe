"""The process that this is, as others may know it once it is gone, and what can still be told of how it ended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import ray

_LAST_WORDS = re.compile(rb"\*\*\* (SIG[A-Z]+) received")
_TAIL = 64 * 1024


@dataclass(frozen=True)
class Process:
    """A worker: Ray's ids of it and its node, and what the node knew when it began."""

    worker: str
    node: str
    errors: str
    """The file that it writes its standard error to."""
    killed_for_memory: int
    """Processes of the node that the kernel had killed to get memory."""

    @classmethod
    def this(cls) -> Process:
        """The one that asks, now."""
        return cls(*_names(), _killed_for_memory())

    def end(self) -> str:
        """How the process ended, as far as its node can tell; to be asked on a worker."""
        node = ray.get_runtime_context().get_node_id()
        said = _LAST_WORDS.findall(_tail(Path(self.errors))) if node == self.node else []
        if said:
            name = said[-1].decode()
            return f"the process died (signal {signal.Signals[name].value}, {name})"
        if node == self.node and _killed_for_memory() > self.killed_for_memory:
            return f"the process died (signal {signal.SIGKILL.value}, as memory ran out on its machine)"
        return "the process died without a word, as after signal 9"


@cache
def _names() -> tuple[str, str, str]:
    context = ray.get_runtime_context()
    errors = ""
    with contextlib.suppress(OSError):
        errors = str(Path("/proc/self/fd/2").readlink())
    return context.get_worker_id(), context.get_node_id(), errors


def _killed_for_memory() -> int:
    try:
        counters = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    found = re.search(r"^oom_kill (\d+)$", counters, re.MULTILINE)
    return int(found[1]) if found else 0


def _tail(path: Path) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        return file.read()
    return b""
