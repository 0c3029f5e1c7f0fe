"""What differs between two nested values, in dotted keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOST = 20
_WIDTH = 60
_NOTHING = "nothing"


def differences(old: Any, new: Any) -> list[str]:
    """One line for each key that one of them lacks or has another value at: ``steps.0.caption.num_beams: 1 -> 3``."""
    return list(_lines("", old, new))


def shown(lines: Sequence[str]) -> str:
    """The first lines, indented, and how many more there are."""
    more = [f"... and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return "\n".join(f"  {line}" for line in [*lines[:_MOST], *more])


def _lines(at: str, old: Any, new: Any) -> Iterator[str]:
    before, after = _below(old), _below(new)
    if before is None or after is None:
        if old != new:
            yield f"{at}: {_told(old)} -> {_told(new)}"
        return
    for key in dict.fromkeys([*before, *after]):
        place = f"{at}.{key}" if at else key
        if key in before and key in after:
            yield from _lines(place, before[key], after[key])
        else:
            there = {side: _told(values[key]) for side, values in (("old", before), ("new", after)) if key in values}
            yield f"{place}: {there.get('old', _NOTHING)} -> {there.get('new', _NOTHING)}"


def _below(value: Any) -> Mapping[str, Any] | None:
    """The values inside a mapping, or a list of steps, by key; None of what is shown whole."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return {str(at): item for at, item in enumerate(value)}
    return None


def _told(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
