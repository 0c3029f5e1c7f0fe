"""Source rows that count as the same as an earlier one: found by a pass over one column, before the run.

No state is kept of it: each run looks at the whole source again, so all runs come to the same rows, however often they
were killed. Of rows that are the same, the first in the source's order is kept, but for one that an earlier run has
done and not left out: that one stays, and what has come into the source before it since is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import ray
from numpy.typing import NDArray

from jobs.sink.recall import Recall
from jobs.sources import Fragment
from operators import columns
from operators.likeness import Alike, Keys, same

_ROWS_AT_ONCE = 256

STEP = "source.dedup"
"""What rows are said to be left out by."""


@dataclass(frozen=True)
class Duplicates:
    """The rows that are left out, in the order of 64-bit hashes of their ids."""

    alike: Alike
    hashes: NDArray[np.uint64]
    ids: pa.Array
    same_as: pa.Array
    """The row that is kept, for each of them."""

    @classmethod
    def none(cls) -> Duplicates:
        """Where no rows are left out."""
        nothing = pa.array([], pa.string())
        return cls(Alike(), np.empty(0, np.uint64), nothing, nothing)

    def reasons(self, ids: pa.ChunkedArray) -> dict[int, str]:
        """Why rows with such ids are left out, by their place; those that are not are not there."""
        asked = _hashed(ids)
        first, last = (np.searchsorted(self.hashes, asked, side) for side in ("left", "right"))
        return {
            int(row): self.alike.reason(self.same_as[at].as_py())
            for row in np.flatnonzero(last > first)
            for at in range(first[row], last[row])
            if self.ids[at] == ids[row]
        }


def find(alike: Alike, shares: Sequence[Sequence[Fragment]], recall: ray.ObjectRef[Recall]) -> Duplicates:
    """Look for duplicates on the workers of the cluster.

    Ids stay on the workers, but for those of duplicates and of what they are the same as.

    Args:
        alike: which rows count as the same.
        shares: of the source, in its order; each is read by one worker.
        recall: what earlier runs did.

    Raises:
        UserError: source or sink fail.
    """
    look = ray.remote(num_returns=2)(_look)
    looked = [look.remote([narrow(each, alike.column) for each in share], alike, recall) for share in shares]
    told = ray.get([keys for keys, _ in looked])
    keys, done = Keys.joined([keys for keys, _ in told]), np.concatenate([_NONE, *(done for _, done in told)])
    ends = np.cumsum([len(done) for _, done in told])
    firsts = _kept(same(keys, alike.bits), done)
    left_out = np.flatnonzero(firsts != np.arange(len(firsts)))
    names = _names([ids for _, ids in looked], ends, np.union1d(left_out, firsts[left_out]))
    ids, same_as = (
        pa.array([names[row] for row in rows.tolist()], pa.string()) for rows in (left_out, firsts[left_out])
    )
    hashes = _hashed(pa.chunked_array([ids]))
    order = np.argsort(hashes, kind="stable")
    return Duplicates(alike, hashes[order], ids.take(pa.array(order)), same_as.take(pa.array(order)))


_NONE = np.empty(0, bool)


def narrow(fragment: Fragment, column: str) -> Fragment:
    """The same rows, with one of their columns."""
    chosen = fragment.selection
    source = chosen.projection[column]
    return replace(
        fragment,
        selection=replace(
            chosen,
            projection={column: source},
            pictures=chosen.pictures & {column},
            needed=list(dict.fromkeys([source, *([chosen.id] if chosen.id else [])])),
            schema=pa.schema([chosen.schema.field(column)]),
        ),
    )


def _look(share: list[Fragment], alike: Alike, recall: Recall) -> tuple[tuple[Keys, NDArray[np.bool_]], list[pa.Array]]:
    """What is compared of the rows of a share, and whether they stay; and, apart from these, their ids."""
    keys, done, ids = [], [_NONE], list[pa.Array]()
    for fragment in share:
        earlier = recall.of(fragment.file).done
        for table in fragment.read(_ROWS_AT_ONCE):
            keys.append(Keys.of(table[alike.column], alike.by))
            ids += table[columns.SOURCE_ID].chunks
            places = earlier.find(table[columns.SOURCE_ID])
            done.append((places >= 0) & _came_out(earlier.outputs, earlier.rejects, places))
    return (Keys.joined(keys), np.concatenate(done)), ids


def _came_out(outputs: NDArray[np.int32], rejects: NDArray[np.int32], places: NDArray[np.intp]) -> NDArray[np.bool_]:
    return (outputs > 0)[places] | (rejects > 0)[places] if len(outputs) else np.zeros(len(places), bool)


def _kept(groups: NDArray[np.intp], done: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The row that is kept, for each row of groups that are named by their first one."""
    kept = np.arange(len(groups))
    # The last of what is assigned to one place counts, so the first row that is done comes last.
    rows = np.flatnonzero(done)[::-1]
    kept[groups[rows]] = rows
    return kept[groups]


def _names(
    shares_ids: list[ray.ObjectRef[list[pa.Array]]], ends: NDArray[np.intp], wanted: NDArray[np.intp]
) -> dict[int, str]:
    """Ids of rows, by their place among all."""
    found: dict[int, str] = {}
    for ids, first, last in zip(shares_ids, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        here = wanted[(wanted >= first) & (wanted < last)]
        if len(here):
            whole = pa.chunked_array(ray.get(ids), pa.string())
            found |= zip(here.tolist(), whole.take(pa.array(here - first)).to_pylist(), strict=True)
    return found


def _hashed(ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    values: NDArray[np.uint64] = pd.util.hash_array(ids.to_numpy(), categorize=False)
    return values
