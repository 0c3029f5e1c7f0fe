"""What a source row held, as one hash: the same for the same values, whatever file or block they came in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from operators.columns import is_image


def content_hashes(table: pa.Table) -> pa.Array:
    """BLAKE2b-128 of every row's values, by column in the order of names; a picture counts by its bytes."""
    digests = [hashlib.blake2b(digest_size=16) for _ in range(table.num_rows)]
    for name in sorted(table.column_names):
        label = name.encode() + b"\0"
        for digest, value in zip(digests, _encoded(table[name]), strict=True):
            digest.update(label)
            digest.update(b"-" if value is None else b"+%d:" % len(value))
            digest.update(value or b"")
    return pa.array([digest.hexdigest() for digest in digests], pa.string())


def mark(version: str) -> int:
    """A version as 63 bits of a hash; 0 where nothing is known."""
    return int.from_bytes(hashlib.blake2b(version.encode(), digest_size=8).digest()) >> 1 if version else 0


def _encoded(column: pa.ChunkedArray) -> Sequence[bytes | None]:
    if is_image(column.type):
        values = column.combine_chunks()
        held, path = values.field("bytes").to_pylist(), values.field("path").to_pylist()
        return [data if data is not None else name and name.encode() for data, name in zip(held, path, strict=True)]
    listed: list[Any] = column.to_pylist()
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return listed
    return [None if value is None else (value if isinstance(value, str) else repr(value)).encode() for value in listed]
