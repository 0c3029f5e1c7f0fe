"""The names in a sink: which parts count, which of their objects are there, and what belongs to none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from jobs import ledger
from jobs.attempts import retried
from jobs.ledger import DATA, FOLDERS, OUTCOMES, REJECTS
from jobs.status import State, Status
from jobs.storage import Store
from jobs.verifying.verdict import Code, Fault

_PART = re.compile(r"part-(\d{6,})-")


@dataclass(frozen=True)
class Listed:
    """A part that counts, and which of its objects are there."""

    name: str
    data: bool
    rejects: bool
    remedy: str
    """What makes the part anew."""


@dataclass(frozen=True)
class Listing:
    """What a sink's folders hold."""

    names: dict[str, set[str]]
    """By folder: what lies in it."""
    counted: list[str]
    retried: dict[str, str]
    """Parts whose rejects were tried again, with the part that did."""
    running: int | None
    """The epoch of a run that goes on."""

    @classmethod
    def of(cls, sink: Store, status: Status) -> Listing:
        """List a sink; first the parts that count, whose other objects were there before."""
        counted = ledger.committed(sink)
        names = {folder: set(sink.names(folder)) for folder in FOLDERS}
        return cls(names, counted, retried(counted), status.epoch if status.state is State.RUNNING else None)

    @property
    def parts(self) -> list[Listed]:
        """The parts that count; rejects that were tried again are no longer theirs."""
        settled = self.names[REJECTS] - self.retried.keys()
        return [Listed(n, n in self.names[DATA], n in settled, self.remedy(n)) for n in self.counted]

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return sum(map(len, self.names.values()))

    def orphans(self) -> Iterator[Fault]:
        """Objects that no part that counts needs; a run that goes on may have more to say of its own."""
        counted = set(self.counted)
        allowed = {DATA: counted, OUTCOMES: counted, REJECTS: counted - self.retried.keys()}
        for folder, names in self.names.items():
            for name in sorted(names - allowed[folder]):
                if not self._in_flight(name):
                    yield Fault.about(
                        Code.ORPHAN, "it belongs to no part that counts", f"{folder}/{name}", _moved(name)
                    )

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
        part = _PART.match(name)
        if self.running is None or part is None:
            return False
        return name in self.retried or int(part[1]) >= self.running


def _moved(name: str) -> str:
    if _PART.match(name):
        return "run the job again: it removes what doesn't count"
    return "move it elsewhere: whoever reads the folder takes it for rows of the job"
