"""What somebody who misspelt a word may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest one that is known, or else all."""
    there = list(known)
    near = difflib.get_close_matches(word, there, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(there)}"
