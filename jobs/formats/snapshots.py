"""The numbered snapshots of a sink: what each run did to its table, kept beside the outcomes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

from jobs.sink.ledger import STATE
from jobs.stores.store import Store
from operators.errors import SinkError

SNAPSHOTS = f"{STATE}/snapshots"

_READERS = 32


@dataclass(frozen=True)
class Snapshot:
    """What one run's parts did to the table."""

    version: int
    """The table's version from then on."""
    epoch: int
    run_id: str
    committed: str
    rows: int
    """Rows that the table has."""
    added: int
    removed: int
    parts: tuple[str, ...]
    """Parts whose rows are in the table from then on."""
    gone: tuple[str, ...]
    """Parts that no longer count."""

    @classmethod
    def parse(cls, data: bytes | str, **known: Any) -> Snapshot:
        """A snapshot from JSON."""
        told = json.loads(data)
        return cls(**told | known | {name: tuple(told[name]) for name in ("parts", "gone")})

    def as_json(self) -> dict[str, Any]:
        """What is of interest to others."""
        return {name: value for name, value in vars(self).items() if name not in ("parts", "gone")}

    @property
    def name(self) -> str:
        """The record's name."""
        digest = blake2b(" ".join([*self.parts, "-", *self.gone]).encode(), digest_size=4).hexdigest()
        return f"{SNAPSHOTS}/{self.version:06d}-{self.epoch:06d}-{digest}.json"


def recorded(sink: Store) -> list[Snapshot]:
    """The snapshots of which there is a record, oldest first.

    Raises:
        SinkError: the sink can't be read.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(sink.get, [f"{SNAPSHOTS}/{name}" for name in sink.names(SNAPSHOTS)]))
    known = [Snapshot.parse(data) for data in found if data]
    return sorted(known, key=lambda snapshot: (snapshot.version, snapshot.epoch))


def made(sink: Store) -> list[Snapshot]:
    """Those that changed the rows, oldest first.

    Raises:
        SinkError: there are none, or the sink can't be read.
    """
    found = [snapshot for snapshot in recorded(sink) if snapshot.added or snapshot.removed]
    if not found:
        raise SinkError("there are no snapshots here; jobs with `sink.format: lance` make them", sink.uri)
    return found


def record(sink: Store, snapshot: Snapshot) -> None:
    """Write a snapshot down.

    Raises:
        SinkError: the sink can't be written.
    """
    sink.put(snapshot.name, json.dumps(asdict(snapshot)).encode())
