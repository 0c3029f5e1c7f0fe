"""How a run went over time: rows and seconds of every step in buckets, few enough to be written with every beat."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

_SECONDS = 5.0
_MOST = 240
_OUTCOMES = ("accepted", "filtered", "rejected")


class Timeline:
    """What parts took, laid out over the time that they took it.

    A step's rows and seconds are spread evenly from its beginning to its end; outcomes fall at the commit. When there
    are more than ``most`` buckets, neighbours are merged, so that each is twice as long: 240 of them cover 20 minutes
    in steps of 5 seconds, and a week in steps of 43 minutes.

    Args:
        clock: seconds since 1970. What other machines' clocks say is moved into the time from the beginning to now.
        most: buckets.
    """

    def __init__(self, clock: Callable[[], float] = time.time, most: int = _MOST) -> None:
        self._clock = clock
        self._most = most
        self._began = clock()
        self._width = _SECONDS
        self._lines: dict[tuple[str, str], list[float]] = {}

    def add(self, report: Mapping[str, Any]) -> None:
        """Take in a committed part, or what was done before, which took no time."""
        if "before" in report:
            return
        now = self._clock() - self._began
        while now >= self._width * self._most:
            self._merge()
        for step, note in report["steps"].items():
            ended = min(max(note["began"] + note["seconds"] - self._began, 0.0), now)
            began = max(ended - note["seconds"], 0.0)
            self._spread((step, "rows"), note["rows"], began, ended)
            self._spread((step, "seconds"), note["seconds"], began, ended)
            self._raise((step, "card"), note.get("card") or 0.0, began, ended)
        counts = report["rows_out"], report["filtered"], sum(report["rejected"].values())
        for name, count in zip(_OUTCOMES, counts, strict=True):
            self._spread(("", name), count, now, now)

    def as_json(self) -> dict[str, Any]:
        """Begin, seconds of a bucket, and a list for each figure of each step; lists end with their last value."""
        steps: dict[str, dict[str, list[float]]] = {}
        for (step, name), line in self._lines.items():
            steps.setdefault(step, {})[name] = [round(value, 3) for value in line]
        began = datetime.fromtimestamp(self._began, UTC).isoformat()
        return {"began": began, "bucket_seconds": self._width, "outcomes": steps.pop("", {}), "steps": steps}

    def _spread(self, key: tuple[str, str], amount: float, began: float, ended: float) -> None:
        first, last = self._places(began, ended)
        line = self._line(key, last)
        for at in range(first, last + 1):
            overlap = min(ended, (at + 1) * self._width) - max(began, at * self._width)
            line[at] += amount * (overlap / (ended - began) if ended > began else 1.0)

    def _raise(self, key: tuple[str, str], share: float, began: float, ended: float) -> None:
        first, last = self._places(began, ended)
        line = self._line(key, last)
        line[first : last + 1] = [max(value, share) for value in line[first : last + 1]]

    def _places(self, began: float, ended: float) -> tuple[int, int]:
        return int(began / self._width), int(ended / self._width)

    def _line(self, key: tuple[str, str], last: int) -> list[float]:
        line = self._lines.setdefault(key, [])
        line += [0.0] * (last + 1 - len(line))
        return line

    def _merge(self) -> None:
        self._width *= 2
        for key, line in self._lines.items():
            join = max if key[1] == "card" else sum
            self._lines[key] = [join(line[at : at + 2]) for at in range(0, len(line), 2)]
