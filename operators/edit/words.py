"""Words of a prompt, exchanged."""

from __future__ import annotations

import re


def replaced(prompt: str, word: str, by: str) -> str | None:
    """The prompt with every whole ``word`` exchanged, whatever its case; None where it has none.

    An article in front fits the new word: ``a cat`` becomes ``an owl``.
    """
    pattern = re.compile(rf"(\ban?\s+)?(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
    if not pattern.search(prompt):
        return None
    return pattern.sub(lambda found: _article(found[1], by) + by, prompt)


def _article(given: str | None, word: str) -> str:
    if given is None:
        return ""
    return given[0] + ("n " if word[:1].lower() in "aeiou" else " ")
