"""The Ray cluster that a job runs on: one that is there, or one on this machine for as long as the job takes."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator

import ray


@contextlib.contextmanager
def connect(address: str | None = None) -> Iterator[None]:
    """Be connected to a cluster.

    An existing connection of this process is used and left open. ``address`` names a cluster (``auto`` finds one that
    runs on this machine); without it a local one is started, and ended at the end. While this process's connection is
    ours, SIGTERM stops it as Ctrl-C does, by a ``KeyboardInterrupt``.
    """
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    dashboard = {"include_dashboard": False} if address is None else {}
    ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **dashboard)
    try:
        with _stoppable():
            yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Ray's own handler, in native code, prints a trace and gives the process three seconds before it aborts.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
