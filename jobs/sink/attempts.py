"""Which part tries the rejected rows of which other part again: their names alone tell it.

A part ``part-<epoch>-<file>-<digest>.parquet`` that retries another has the digest of the other's name. So there can be
one such part for every epoch, the same rows get the same name when a task runs twice, and a listing tells which rejects
were retried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def retry_digest(name: str) -> str:
    """The digest in the name of a part that retries the rejects of the part ``name``."""
    return hashlib.blake2b(name.encode(), digest_size=10).hexdigest()


def retried(names: Iterable[str]) -> dict[str, str]:
    """Parts whose rejects were tried again, each with the part that did."""
    listed = list(names)
    by_digest = {_digest(name): name for name in listed}
    found = {name: by_digest.get(retry_digest(name)) for name in listed}
    return {name: later for name, later in found.items() if later is not None}


def _digest(name: str) -> str:
    return name.removesuffix(".parquet").rpartition("-")[2]
