"""Which parts of a sink count: epochs, notes and committed parts. The protocol that survives a kill at any moment.

Every start claims the next epoch by a write that only one can win. It then notes, once, which parts earlier epochs
have committed, and only after that removes what is not among them and starts to write. A part is committed by its
outcomes object, whose name begins with its epoch. So at any time the parts that count are those in the newest note, and
those of the epoch of that note and later ones. What a dead run's worker writes late is in neither, and is swept away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.storage import Store
from operators.errors import SinkError

DATA, REJECTS = "data", "rejects"
STATE = "_latentmill"
OUTCOMES = f"{STATE}/outcomes"
EPOCHS = f"{STATE}/epochs"
NOTES = f"{STATE}/committed"
RUNS = f"{STATE}/runs"

_READERS = 32
_PART = re.compile(r"part-\d{6,}-[0-9a-f]+\.parquet")


@dataclass(frozen=True)
class Epoch:
    """One start of a job on a sink, seen from its workers."""

    store: Store
    number: int
    run_id: str
    fingerprint: str

    def part_name(self, digest: str) -> str:
        """File name of the part with this digest, in every folder of the sink."""
        return f"part-{self.number:06d}-{digest}.parquet"

    def commit(self, name: str, data: bytes | None, rejects: bytes | None, outcomes: bytes) -> None:
        """Write a part; the outcomes come last, and only while this epoch is the newest.

        Raises:
            SinkError: a later run has taken over the sink.
        """
        if data is not None:
            self.store.put(f"{DATA}/{name}", data)
        if rejects is not None:
            self.store.put(f"{REJECTS}/{name}", rejects)
        if self.store.exists(_epoch_name(self.number + 1)):
            raise SinkError(f"{self.store.uri}: another run has taken over this sink; this one, {self.run_id}, ends")
        self.store.put(f"{OUTCOMES}/{name}", outcomes)


def check(store: Store, fingerprint: str) -> None:
    """See, without writing, whether a plan's rows may go into a sink.

    Raises:
        SinkError: the sink can't be reached, or holds another plan's rows.
    """
    _refuse_another_plan(store, _newest(store.names(EPOCHS)), fingerprint)


def claim(store: Store, run_id: str, fingerprint: str) -> Epoch:
    """Begin the next epoch: what earlier ones committed is kept, what they left half-done is removed.

    Raises:
        SinkError: the sink holds another plan's rows, can't be written, or was claimed by another run at this moment.
    """
    number = _newest(store.names(EPOCHS)) + 1
    _refuse_another_plan(store, number - 1, fingerprint)
    entry = {"run_id": run_id, "fingerprint": fingerprint, "started": datetime.now(UTC).isoformat()}
    if not store.put_new(_epoch_name(number), json.dumps(entry).encode()):
        raise SinkError(f"{store.uri}: another run started at this moment; wait for it, or stop it and start again")
    kept = committed(store)
    store.put(f"{NOTES}/{number:06d}.json", json.dumps(kept).encode())
    epoch = Epoch(store, number, run_id, fingerprint)
    store.discard_unfinished()
    _sweep(store, kept, before=number)
    return epoch


def committed(store: Store) -> list[str]:
    """Names of the parts that count."""
    present = _parts(store, OUTCOMES)
    noted = _newest(store.names(NOTES))
    data = store.get(f"{NOTES}/{noted:06d}.json")
    listed = set(json.loads(data)) if data else set()
    return [name for name in present if name in listed or _epoch_of(name) >= max(noted, 1)]


def close(epoch: Epoch) -> None:
    """Sweep away what a dead run's workers wrote after this epoch began."""
    _sweep(epoch.store, committed(epoch.store), before=epoch.number + 1)


def outcomes(store: Store, names: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Read columns of committed parts' outcomes, some at a time in parallel."""

    def read(name: str) -> pa.Table:
        data = store.get(f"{OUTCOMES}/{name}")
        if data is None:
            raise SinkError(f"{store.uri}: {OUTCOMES}/{name} vanished while it was read")
        return pq.read_table(pa.BufferReader(data), columns=list(columns))

    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(read, names)


def _sweep(store: Store, kept: Sequence[str], before: int) -> None:
    """Remove what is not kept, but nothing of epoch ``before`` and later: those may be another run's."""
    keep = set(kept)
    for folder in (DATA, REJECTS, OUTCOMES):
        stray = [name for name in _parts(store, folder) if name not in keep and _epoch_of(name) < before]
        store.remove(f"{folder}/{name}" for name in stray)


def _parts(store: Store, folder: str) -> list[str]:
    """Parts in a folder; a file of another name is somebody else's."""
    return [name for name in store.names(folder) if _PART.fullmatch(name)]


def _refuse_another_plan(store: Store, epoch: int, fingerprint: str) -> None:
    data = store.get(_epoch_name(epoch))
    if data is None:
        return
    before = json.loads(data)["fingerprint"]
    if before != fingerprint:
        raise SinkError(
            f"{store.uri} holds rows of another plan ({before[:12]}, this one is {fingerprint[:12]}); "
            "write to another place, or remove this one"
        )


def _epoch_name(number: int) -> str:
    return f"{EPOCHS}/{number:06d}.json"


def _newest(names: Sequence[str]) -> int:
    return max((int(name.removesuffix(".json")) for name in names), default=0)


def _epoch_of(name: str) -> int:
    return int(name.split("-")[1])
