"""Where a job runs: connections, resources, actor pools."""

from __future__ import annotations

from contextlib import AbstractContextManager


def connect(address: str | None = None) -> AbstractContextManager[None]:
    """Be connected to a cluster for the length of a ``with`` block; see :func:`cluster.connection.connect`."""
    # Here and not above: Ray takes long to import, and a plan needs none of it.
    from cluster import connection

    return connection.connect(address)
