"""Durations and counts in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

_UNITS = (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))


def spell(seconds: float) -> str:
    """Seconds in the two largest units."""
    for unit, size, smaller, part in _UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // part:.0f} {smaller}"
    return f"{max(seconds, 0):.0f} s"


def rejected_by_code(rejected: Mapping[str, int]) -> str:
    """How many rows were rejected, and why."""
    codes = ", ".join(f"{count:,} {code}" for code, count in Counter(rejected).most_common())
    return f"{sum(rejected.values()):,} rejected ({codes})"
