"""Which rows go into which file: by split, and in parts of about the same number of rows."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from jobs.export.options import VALIDATION, Options

_WHOLE = 1 << 64


@dataclass(frozen=True)
class Splitting:
    """Source rows by split: all that one became is in the same one, in whatever sink it is."""

    split: str
    share: float
    """Of source rows that are in the validation split, 0..1."""

    @classmethod
    def of(cls, options: Options) -> Splitting:
        """As an export is to split."""
        return cls(options.split, options.share)

    @property
    def names(self) -> list[str]:
        """The splits."""
        return [self.split, VALIDATION] if self.share else [self.split]

    def __call__(self, source_ids: pa.Array) -> list[str]:
        """The split of each row, by a hash of the id of its source row."""
        if not self.share:
            return [self.split] * len(source_ids)
        return [VALIDATION if _place(name) < self.share else self.split for name in source_ids.to_pylist()]


def _place(source_id: str) -> float:
    return int.from_bytes(hashlib.blake2b(source_id.encode(), digest_size=8).digest()) / _WHOLE


@dataclass(frozen=True)
class Piece:
    """Rows of a part of the sink: ``rows`` of those in one split, after the first ``skip`` of them."""

    part: str
    skip: int
    rows: int


@dataclass(frozen=True)
class Shard:
    """One file, or folder of files, of the dataset."""

    split: str
    number: int
    of: int
    pieces: tuple[Piece, ...]

    @property
    def name(self) -> str:
        """As the hub calls files: ``train-00000-of-00042``."""
        return f"{self.split}-{self.number:05d}-of-{self.of:05d}"

    @property
    def rows(self) -> int:
        """Rows in it."""
        return sum(piece.rows for piece in self.pieces)


def shards(counts: Mapping[str, Counter[str]], splits: Sequence[str], shard_rows: int) -> list[Shard]:
    """Lay out a dataset: no file has more than so many rows, and all of a split have about the same.

    Args:
        counts: rows by split, of every part of the sink, in the order in which they are taken.
        splits: the splits.
        shard_rows: rows of a file, at the most.
    """
    return [shard for split in splits for shard in _of_split(split, counts, shard_rows)]


def _of_split(split: str, counts: Mapping[str, Counter[str]], shard_rows: int) -> Iterator[Shard]:
    total = sum(count[split] for count in counts.values())
    number = math.ceil(total / shard_rows)
    taken = _Rows([(part, count[split]) for part, count in counts.items() if count[split]])
    for at in range(number):
        rows = (at + 1) * total // number - at * total // number
        yield Shard(split, at, number, tuple(taken.next(rows)))


class _Rows:
    """The rows of parts, one part after the other."""

    def __init__(self, parts: list[tuple[str, int]]) -> None:
        self._parts = parts
        self._part = self._row = 0

    def next(self, rows: int) -> Iterator[Piece]:
        while rows:
            part, count = self._parts[self._part]
            some = min(rows, count - self._row)
            yield Piece(part, self._row, some)
            rows, self._row = rows - some, self._row + some
            if self._row == count:
                self._part, self._row = self._part + 1, 0
