"""How fast a run is lately."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_SECONDS = 60.0


class Pace:
    """Rows per second over the last minute, by counts that are told every few seconds.

    Args:
        clock: seconds of any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: deque[tuple[float, int]] = deque()

    def told(self, rows: int) -> float | None:
        """Take in how many rows are done now; None until there is a first one, and time has passed since."""
        now = self._clock()
        while len(self._told) > 1 and self._told[1][0] <= now - _SECONDS:
            self._told.popleft()
        if rows:
            self._told.append((now, rows))
        if not self._told or self._told[0][0] == now:
            return None
        then, before = self._told[0]
        return round((rows - before) / (now - then), 3)
