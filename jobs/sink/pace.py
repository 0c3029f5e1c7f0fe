"""How fast a run is lately, and how long it will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

_SECONDS = 60.0
_LEAST = 3.0
"""Over less time there is no pace: two parts may be committed at one moment."""


class Pace:
    """Rows per second over the last minute, by counts that are told every few seconds.

    Args:
        clock: seconds of any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: deque[tuple[float, int]] = deque()

    def told(self, rows: int) -> float | None:
        """Take in how many rows are done now; None until some seconds after the first one."""
        now = self._clock()
        while len(self._told) > 1 and self._told[1][0] <= now - _SECONDS:
            self._told.popleft()
        if rows:
            self._told.append((now, rows))
        if not self._told or now - self._told[0][0] < _LEAST:
            return None
        then, before = self._told[0]
        return round((rows - before) / (now - then), 3)


class Paces:
    """The paces of several things that are counted, by name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: dict[str, Pace] = {}

    def told(self, rows: Mapping[str, int]) -> dict[str, float]:
        """Take in how many are done now of each; those without a pace yet are left out."""
        paces = {name: self._of.setdefault(name, Pace(self._clock)).told(count) for name, count in rows.items()}
        return {name: pace for name, pace in paces.items() if pace is not None}


def per_second(amount: float | None, seconds: float | None) -> float | None:
    """How much in a second; None where one of the two is nothing."""
    return round(amount / seconds, 3) if amount and seconds else None
