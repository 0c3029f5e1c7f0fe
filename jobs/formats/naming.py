"""Names of what a row becomes as files: a key that any tool takes, and endings that tell the columns."""

from __future__ import annotations

import hashlib
import re

from operators import images

MAIN, NAME = "image", "file_name"
"""The column of a folder's main pictures, and the one that names their files."""

_READABLE = 80
_UNKNOWN = "bin"
_RECORDINGS = {b"WAVE": "wav", b"ftyp": "mp4"}


def key(row_id: str) -> str:
    """A name for a row that is safe in a path and a shard, and as unique as its id.

    Letters, digits, ``-`` and ``_`` of the id stay, all else becomes ``_``; a hash of the whole id follows, as in
    ``cats_001_jpg_edit_dog-0f3a9c17b2d4``. There is no dot in it: a WebDataset key ends at the first one.
    """
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", row_id).strip("_")[-_READABLE:]
    return f"{readable}-{hashlib.blake2b(row_id.encode(), digest_size=6).hexdigest()}"


def ending(data: bytes) -> str:
    """The ending of a picture's or recording's own format; ``bin`` where it is in none that is known."""
    return images.ending(data) or _recording(data) or _UNKNOWN


def file_name(column: str) -> str:
    """The column that names the files of a column's pictures, as ``datasets`` has it."""
    return NAME if column == MAIN else f"{column}_{NAME}"


def picture_in(column: str) -> str | None:
    """The column whose pictures' names such a column holds; None if it holds something else."""
    return MAIN if column == NAME else column.removesuffix(f"_{NAME}") if column.endswith(f"_{NAME}") else None


def _recording(data: bytes) -> str | None:
    return _RECORDINGS.get(data[8:12]) or _RECORDINGS.get(data[4:8])
