"""Randomness that belongs to the row: batch size, batch mates, actors and resumes have no say in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa


def row_seeds(job_seed: int, row_ids: Iterable[str]) -> pa.Array:
    """One 63-bit seed for every row id, as int64."""
    return pa.array([_digest(f"{job_seed}\0{row_id}") for row_id in row_ids], pa.int64())


def step_seeds(seeds: pa.Array | pa.ChunkedArray, step: str) -> list[int]:
    """The seeds that the step called ``step`` draws its noise from, one for every row seed."""
    return [_digest(f"{seed}\0{step}") for seed in np.asarray(seeds)]


def branch_seeds(seeds: pa.ChunkedArray, suffixes: Iterable[str]) -> pa.Array:
    """The seeds of rows whose ids grew by ``suffixes``; a row whose id did not grow keeps its own."""
    pairs = zip(np.asarray(seeds).tolist(), suffixes, strict=True)
    return pa.array([_digest(f"{seed}\0{suffix}") if suffix else seed for seed, suffix in pairs], pa.int64())


def _digest(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
