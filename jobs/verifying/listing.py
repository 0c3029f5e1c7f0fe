"""The names in a sink: which parts count, which of their objects are there, and what belongs to none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from jobs.formats import SinkFormat
from jobs.sink import ledger
from jobs.sink.attempts import retried
from jobs.sink.ledger import FILTERED, OUTCOMES, REJECTS
from jobs.sink.stored import Stored, stored
from jobs.status import State, Status
from jobs.stores.store import Store
from jobs.verifying.verdict import Code, Fault


@dataclass(frozen=True)
class Listed:
    """A part that counts, and which of its objects are there."""

    name: str
    data: bool
    rejects: bool
    filtered: bool
    remedy: str
    """What makes the part anew."""


@dataclass(frozen=True)
class Listing:
    """What a sink's folders hold."""

    names: dict[str, set[str]]
    """What lies in the folders of rejects, filtered rows and outcomes."""
    rows: Stored
    counted: list[str]
    retried: dict[str, str]
    """Parts whose rejects were tried again, with the part that did."""
    running: int | None
    """The epoch of a run that goes on."""

    @classmethod
    def of(cls, sink: Store, kind: SinkFormat, status: Status) -> Listing:
        """List a sink; first the parts that count, whose other objects were there before."""
        counted = ledger.committed(sink)
        names = {folder: set(sink.names(folder)) for folder in (REJECTS, FILTERED, OUTCOMES)}
        running = status.epoch if status.state is State.RUNNING else None
        return cls(names, stored(sink, kind), counted, retried(counted), running)

    @property
    def parts(self) -> list[Listed]:
        """The parts that count; rejects that were tried again are no longer theirs."""
        standing, filtered = self.names[REJECTS] - self.retried.keys(), self.names[FILTERED]
        return [
            Listed(name, self.rows.has(name), name in standing, name in filtered, self.remedy(name))
            for name in self.counted
        ]

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return len(self.rows.names) + sum(map(len, self.names.values()))

    def orphans(self) -> Iterator[Fault]:
        """Objects that no part that counts needs; a run that goes on may have more to say of its own."""
        counted = set(self.counted)
        stems = {ledger.stem(name) for name in counted}
        strange = [(folder, name) for folder in (OUTCOMES, FILTERED) for name in self.names[folder] - counted]
        strange += [(REJECTS, name) for name in self.names[REJECTS] - (counted - self.retried.keys())]
        strange += [(self.rows.folder, name) for stem, name in self.rows.names.items() if stem not in stems]
        for folder, name in sorted(strange):
            if not self._in_flight(name):
                what = "it belongs to no part that counts"
                yield Fault.about(Code.ORPHAN, what, f"{folder}/{name}", _moved(name))

    def remedy(self, name: str) -> str:
        """What makes a part's rows anew: without the outcomes of all tries of these rows, they are not done."""
        tries = [name]
        while tries[-1] in self._earlier:
            tries.append(self._earlier[tries[-1]])
        objects = " and ".join(f"{OUTCOMES}/{each}" for each in tries)
        return f"remove {objects} and run the job again: it makes these rows anew"

    @cached_property
    def _earlier(self) -> dict[str, str]:
        return {later: before for before, later in self.retried.items()}

    def _in_flight(self, name: str) -> bool:
        if self.running is None or not ledger.is_part(name):
            return False
        return name in self.retried or ledger.epoch_of(name) >= self.running


def _moved(name: str) -> str:
    if ledger.is_part(name):
        return "run the job again: it removes what doesn't count"
    return "move it elsewhere: whoever reads the folder takes it for rows of the job"
