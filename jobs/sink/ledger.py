"""Which parts of a sink count: epochs, notes and committed parts. The protocol that survives a kill at any moment.

Every start claims the next epoch by a write that only one can win. It then notes, once, which parts earlier epochs
have committed, and only after that removes what is not among them and starts to write. A part is committed by its
outcomes object, whose name begins with its epoch. So at any time the parts that count are those in the newest note, and
those of the epoch of that note and later ones. What a dead run's worker writes late is in neither, and is swept away.

A start that overwrites writes its parts and notes below ``_latentmill/next``, as if that were the sink; epochs and
records are the sink's own. :mod:`jobs.sink.switch` then puts the new parts in the place of the old.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.sink.attempts import retried
from jobs.sink.difference import differences, shown
from jobs.stores.store import Store
from operators.errors import SinkError

DATA, REJECTS, FILTERED = "data", "rejects", "filtered"
STATE = "_latentmill"
OUTCOMES = f"{STATE}/outcomes"
EPOCHS = f"{STATE}/epochs"
NOTES = f"{STATE}/committed"
RUNS = f"{STATE}/runs"
NEXT = f"{STATE}/next"
SWITCH = f"{STATE}/switch.json"

FILTERED_ROWS = "latentmill.filtered"
"""Metadata of a part's outcomes: how many rows it has in ``filtered/``, if those are kept."""

FOLDERS = (DATA, REJECTS, FILTERED, OUTCOMES)

_READERS = 32
_READ_AHEAD = 1024
_PART = re.compile(r"part-\d{6,}-[0-9a-f]{8}-[0-9a-f]+(\.\w+)*")


class Mode(StrEnum):
    """What a start does with a sink that has rows."""

    RUN = "run"
    """Go on with the plan that they are of."""
    EXTEND = "extend"
    """Keep them, and do what is new by another plan."""
    OVERWRITE = "overwrite"
    """Make everything anew beside them, and then put it in their place."""
    RETRY = "retry"
    """Do what was rejected again."""


_WAYS_ON = {
    Mode.RUN: "`--extend` keeps them and does new source rows by this plan, `--overwrite` makes everything anew; "
    "or write elsewhere",
    Mode.RETRY: "rejected rows are tried again by the plan that they are of; give its job file",
}
"""What to do where a sink holds another plan's rows."""


@dataclass(frozen=True)
class Start:
    """One start of a job: what it wants of the sink, and who it is. Its entry among the epochs."""

    run_id: str
    fingerprint: str
    mode: Mode = Mode.RUN
    plan: dict[str, Any] = field(default_factory=dict)
    """What the fingerprint is a hash of."""
    columns: dict[str, str] = field(default_factory=dict)
    """The columns of the dataset and their types."""
    holder: dict[str, Any] = field(default_factory=dict)
    """The process that runs it; see :mod:`jobs.sink.holder`."""
    beat_seconds: float = 5.0
    """How often that process shows that it lives."""
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat())


@dataclass(frozen=True)
class Epoch:
    """One start of a job on a sink, seen from its workers."""

    store: Store
    """Where its parts go: the sink, or the next generation inside it."""
    number: int
    run_id: str
    fingerprint: str
    sink: Store

    def part_name(self, digest: str, file: str) -> str:
        """File name of the part with this digest, of the source file with this key, in every folder of the sink."""
        return f"part-{self.number:06d}-{file}-{digest}.parquet"

    def commit(self, name: str, rejects: bytes | None, outcomes: bytes, filtered: bytes | None = None) -> None:
        """Write the rest of a part whose data were put; the outcomes come last, and only while no later epoch began.

        Raises:
            SinkError: a later run has taken over the sink.
        """
        for folder, data in ((REJECTS, rejects), (FILTERED, filtered)):
            if data is not None:
                self.store.put(f"{folder}/{name}", data)
        self.refuse_if_overtaken()
        self.store.put(f"{OUTCOMES}/{name}", outcomes)

    def refuse_if_overtaken(self) -> None:
        """See that no later epoch has begun.

        Raises:
            SinkError: one has.
        """
        if self.sink.exists(_epoch_name(self.number + 1)):
            raise SinkError(f"another run has taken over this sink; this one, {self.run_id}, ends", self.sink.uri)


def check(sink: Store, start: Start) -> int:
    """See, without writing, whether a plan's rows may go into a sink.

    Returns:
        The newest epoch, 0 before the first.

    Raises:
        SinkError: the sink can't be reached, or holds another plan's rows.
    """
    newest_epoch = newest(sink.names(EPOCHS))
    _refuse_another_plan(sink, start)
    return newest_epoch


def claim(sink: Store, start: Start, after: int) -> Epoch:
    """Begin the epoch that follows the one that :func:`check` has seen.

    Raises:
        SinkError: the sink can't be written, or another run has begun since.
    """
    number = after + 1
    # A write that was tried again, since its answer was lost, may find itself.
    if not sink.put_new(_epoch_name(number), json.dumps(asdict(start)).encode()) and entry(sink, number) != start:
        raise SinkError("another run started at this moment; wait for it, or stop it and start again", sink.uri)
    store = next_generation(sink) if start.mode is Mode.OVERWRITE else sink
    return Epoch(store, number, start.run_id, start.fingerprint, sink)


def settle(epoch: Epoch, start: Start) -> None:
    """Note what earlier epochs committed, and remove what they left half-done.

    Raises:
        SinkError: the sink holds another plan's rows, a later run has taken it over, or it can't be written.
    """
    _refuse_another_plan(epoch.sink, start)
    kept = committed(epoch.store)
    if start.mode is Mode.OVERWRITE:
        before = entry(epoch.sink, newest(epoch.store.names(NOTES)))
        kept = kept if before and before.fingerprint == start.fingerprint else []
    note(epoch.store, epoch.number, kept)
    epoch.store.discard_unfinished()
    # A run that begins from here on goes by this note; one that has begun may count parts that came since it was made.
    epoch.refuse_if_overtaken()
    sweep(epoch.store, kept, before=epoch.number)


def entry(sink: Store, epoch: int) -> Start | None:
    """The start that began an epoch."""
    data = sink.get(_epoch_name(epoch))
    if data is None:
        return None
    fields = json.loads(data)
    return Start(**fields | {"mode": Mode(fields["mode"])})


def in_force(sink: Store) -> int:
    """The epoch whose plan the sink's rows are of: that of the newest note, or of a switch that is going on."""
    switch = sink.get(SWITCH)
    return max(newest(sink.names(NOTES)), json.loads(switch)["epoch"] if switch else 0)


def next_generation(sink: Store) -> Store:
    """Where the parts that are to replace the sink's are gathered."""
    return replace(sink, uri=f"{sink.uri.rstrip('/')}/{NEXT}")


def committed(store: Store) -> list[str]:
    """Names of the parts that count."""
    present = parts(store, OUTCOMES)
    noted = newest(store.names(NOTES))
    data = store.get(note_name(noted))
    listed = set(json.loads(data)) if data else set()
    return [name for name in present if name in listed or epoch_of(name) >= max(noted, 1)]


def note(store: Store, epoch: int, names: Sequence[str]) -> None:
    """Note at an epoch's beginning which parts count."""
    store.put(note_name(epoch), json.dumps(names).encode())


def file_key(name: str) -> str:
    """What part names say of a source file; two files may share it.

    Args:
        name: its name inside the dataset; empty where rows come from no file, or their ids don't tell from which.
    """
    return hashlib.blake2b(name.encode(), digest_size=4).hexdigest()


def file_of(name: str) -> str:
    """The key of the source file that a part's rows come from."""
    return name.split("-")[2]


def by_file(names: Iterable[str]) -> dict[str, list[str]]:
    """Parts by the key of the source file that their rows come from."""
    grouped: dict[str, list[str]] = {}
    for name in names:
        grouped.setdefault(file_of(name), []).append(name)
    return grouped


def close(epoch: Epoch) -> None:
    """Sweep away what a dead run's workers wrote after this epoch began, and the rejects that it has tried again.

    Raises:
        SinkError: a later run has taken over the sink.
    """
    kept = committed(epoch.store)
    # A run that begins from here on sees all that was listed.
    epoch.refuse_if_overtaken()
    sweep(epoch.store, kept, before=epoch.number + 1)


def outcomes(store: Store, names: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Read columns of committed parts' outcomes, fetched some at a time in parallel; each has its object's metadata."""
    with ThreadPoolExecutor(_READERS) as pool:
        for first in range(0, len(names), _READ_AHEAD):
            some = [f"{OUTCOMES}/{name}" for name in names[first : first + _READ_AHEAD]]
            for name, data in zip(some, pool.map(store.get, some), strict=True):
                if data is None:
                    raise SinkError(f"{name} vanished while it was read", store.uri)
                # Not `read_table`, which goes through a dataset: that takes four times as long for objects so small.
                with pq.ParquetFile(pa.BufferReader(data)) as file:
                    yield file.read(list(columns), use_threads=False)


def sweep(store: Store, kept: Sequence[str], before: int) -> None:
    """Remove what is not kept, but nothing of epoch ``before`` and later: those may be another run's.

    Rejects that a kept part has tried again go too.
    """
    keep = {stem(name) for name in kept}
    settled = {stem(name) for name in retried(kept)}
    for folder in FOLDERS:
        wanted = keep - settled if folder == REJECTS else keep
        stray = [name for name in parts(store, folder) if stem(name) not in wanted and epoch_of(name) < before]
        store.remove(f"{folder}/{name}" for name in stray if "." in name)
        store.remove_folders(f"{folder}/{name}" for name in stray if "." not in name)


def parts(store: Store, folder: str) -> list[str]:
    """Parts in a folder; a file of another name is somebody else's."""
    return [name for name in store.names(folder) if is_part(name)]


def is_part(name: str) -> bool:
    """Whether something with this name belongs to a part."""
    return bool(_PART.fullmatch(name))


def stem(name: str) -> str:
    """What the names of all objects of a part begin with, and what a folder of its rows is called."""
    return name.partition(".")[0]


def newest(names: Sequence[str]) -> int:
    """The newest epoch among names of entries or notes; 0 where there is none."""
    return max((int(name.removesuffix(".json")) for name in names), default=0)


def note_name(epoch: int) -> str:
    """The object that tells which parts counted when an epoch began."""
    return f"{NOTES}/{epoch:06d}.json"


def _refuse_another_plan(sink: Store, start: Start) -> None:
    before = entry(sink, in_force(sink))
    if before is None or before.fingerprint == start.fingerprint:
        return
    if before.plan.get("format") != start.plan.get("format"):
        stored = before.plan.get("format")
        raise SinkError(f"its rows are stored as {stored}; go on with that, or write to another place", sink.uri)
    if start.mode is Mode.OVERWRITE:
        return
    if start.mode is not Mode.EXTEND:
        told = shown(differences(before.plan, start.plan))
        raise SinkError(f"holds rows of another plan; they differ in\n{told}\n{_WAYS_ON[start.mode]}", sink.uri)
    if before.columns != start.columns:
        raise SinkError(
            "its rows can only be extended by rows with the same columns; these differ: "
            + ", ".join(differences(before.columns, start.columns)),
            sink.uri,
        )


def _epoch_name(number: int) -> str:
    return f"{EPOCHS}/{number:06d}.json"


def epoch_of(name: str) -> int:
    """The epoch that a part is of."""
    return int(name.split("-")[1])
