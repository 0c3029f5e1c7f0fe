"""Who holds a sink: the process of its last start, and whether that still lives."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import psutil

from jobs.sink.ledger import RUNS, Start, entry
from jobs.stores.store import Store
from operators.errors import SinkError

PATIENCE = 6
"""Beats that have to be missing before a process on another machine counts as dead."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_SAME_SECONDS = 1.0
"""How far apart a process's start may be told, as the machine's clock is set."""


@dataclass(frozen=True)
class Holder:
    """A process, so that it can be told from every other one, of other machines and containers too."""

    host: str
    pid: int
    process_started: float
    """Seconds since 1970."""
    boot: str
    """The machine since it was switched on."""
    pid_namespace: str
    """What its process id counts in: containers on one machine have ids of their own."""

    @classmethod
    def here(cls) -> Self:
        """This process."""
        process = psutil.Process()
        boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else str(psutil.boot_time())
        namespace = str(_PID_NAMESPACE.readlink()) if os.path.lexists(_PID_NAMESPACE) else ""
        return cls(socket.gethostname(), process.pid, process.create_time(), boot, namespace)

    def as_json(self) -> dict[str, Any]:
        """Its fields by name."""
        return asdict(self)

    def has_ended(self) -> bool:
        """Whether it is known to have ended; one on another machine can't be seen from here."""
        here = Holder.here()
        if (self.host, self.boot, self.pid_namespace) != (here.host, here.boot, here.pid_namespace):
            return False
        try:
            process = psutil.Process(self.pid)
            another = abs(process.create_time() - self.process_started) > _SAME_SECONDS
            return another or process.status() == psutil.STATUS_ZOMBIE
        except psutil.AccessDenied:
            return False
        except psutil.NoSuchProcess:
            return True


def refuse_if_held(sink: Store, epoch: int) -> None:
    """See whether the run of an epoch has ended, or else watch for its beats until they have been missing for long.

    Raises:
        SinkError: it lives.
    """
    start = entry(sink, epoch)
    if start is None:
        return
    holder, seen = Holder(**start.holder), _record(sink, start)
    for _ in range(PATIENCE):
        if seen.get("state", "running") != "running" or holder.has_ended():
            return
        time.sleep(start.beat_seconds)
        before, seen = seen, _record(sink, start)
        if seen.get("state") == "running" and seen["beat"] != before.get("beat"):
            raise SinkError(
                f"run {start.run_id}, process {holder.pid} on {holder.host}, writes here since {_time(start.started)} "
                f"and gave its last sign of life at {_time(seen['updated'])}; wait for it, stop it, or take its place "
                "with `--take-over`",
                sink.uri,
            )


def _time(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%S} UTC"


def _record(sink: Store, start: Start) -> dict[str, Any]:
    """What the run has last written of itself; nothing if it has only begun."""
    data = sink.get(f"{RUNS}/{start.run_id}/run.json")
    return {} if data is None else dict(json.loads(data))
