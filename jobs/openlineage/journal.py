"""A run's events in its record's folder: one object for each, by number, and how many of them a server has.

Object stores can't append to a file, and a file that is written anew for every event grows with the square of their
number. An object for each is written once, costs the same at the end of a long run as at its beginning, and two runs
that both want to tell how one of them ended can't both win: its number is taken by a write that only one can do.
``cat openlineage/*`` is the file: a line of JSON for every event, in their order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from jobs.openlineage.events import ENDS, Event, abort
from jobs.sink import ledger
from jobs.sink.ledger import RUNS, Epoch
from jobs.stores.store import Store

_MOST_RUNS = 8
"""So many runs before this one are looked at for events that a server does not have."""


@dataclass(frozen=True)
class Journal:
    """The events of one run."""

    sink: Store
    run_id: str

    @property
    def folder(self) -> str:
        """Where they lie in the sink."""
        return f"{RUNS}/{self.run_id}/openlineage"

    def numbers(self) -> list[int]:
        """Of the events that there are."""
        return [int(name.removesuffix(".json")) for name in self.sink.names(self.folder)]

    def read(self, number: int) -> Event | None:
        """An event, or None where there is none."""
        data = self.sink.get(self._name(number))
        return None if data is None else dict(json.loads(data))

    def write(self, number: int, event: Event) -> int | None:
        """Write the next event of the run.

        Args:
            number: at which it stands, or after what is written there already.
            event: what to write.

        Returns:
            The number that it has; None, and nothing was written, where somebody else has told how the run ended.

        Raises:
            SinkError: the sink can't be read or written.
        """
        while not self.sink.put_new(self._name(number), json.dumps(event).encode() + b"\n"):
            there = self.read(number)
            if there is None or there["eventType"] in ENDS:
                return None
            number += 1
        return number

    def conclude(self, by: str) -> None:
        """Write the end of a run that began and did not tell how it ended.

        Raises:
            SinkError: the sink can't be read or written.
        """
        last = max(self.numbers(), default=0)
        first, newest = self.read(1), self.read(last)
        if first is not None and newest is not None and newest["eventType"] not in ENDS:
            self.write(last + 1, abort(first, by))

    def note_sent(self, number: int, url: str) -> None:
        """Note up to which event a server has them.

        Raises:
            SinkError: the sink can't be written.
        """
        self.sink.put(self._sent_name, json.dumps({"sent": number, "to": url}).encode())

    def unsent(self, url: str) -> list[tuple[int, Event]]:
        """Events of a run that has ended and that were meant for a server that does not have them, by number.

        Of those that told how far the run was, it is the last alone.

        Raises:
            SinkError: the sink can't be read.
        """
        noted = json.loads(self.sink.get(self._sent_name) or "{}")
        numbers = self.numbers() if noted.get("to") == url else []
        wanted = [number for number in {1, *numbers[-2:]} if number in numbers and number > noted["sent"]]
        read = [(number, self.read(number)) for number in sorted(wanted)]
        return [(number, event) for number, event in read if event is not None]

    def _name(self, number: int) -> str:
        return f"{self.folder}/{number:06d}.json"

    @property
    def _sent_name(self) -> str:
        return f"{RUNS}/{self.run_id}/openlineage-sent.json"


def before(epoch: Epoch) -> Iterator[Journal]:
    """The journals of the runs before an epoch's, the newest first."""
    for number in range(epoch.number - 1, max(epoch.number - 1 - _MOST_RUNS, 0), -1):
        start = ledger.entry(epoch.sink, number)
        if start is not None:
            yield Journal(epoch.sink, start.run_id)
