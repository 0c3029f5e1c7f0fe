"""What a run notices of a source that has changed, and tells when all its rows are done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from numpy.typing import NDArray

from jobs.plan import Plan
from jobs.sink import ledger, seen
from jobs.sink.ledger import RUNS, Epoch
from jobs.sink.seen import GONE, Seen
from jobs.sources import Fragment
from jobs.stores.store import Store
from operators.columns import SOURCE_ID

VANISHED = "vanished.parquet"
"""Beside the record of a run: ids of the rows that were done and are no longer in the source."""


@dataclass
class Noticed:
    """Gathered from the reports of readers and committers."""

    versions: dict[str, int] = field(default_factory=dict)
    """Files, or rows, that were compared with what was done, and at which version."""
    known: int = 0
    """Rows that had been done of a source whose ids don't tell files; 0 for others."""
    met: int = 0
    """Those that are still there."""

    def add(self, report: Mapping[str, Any]) -> None:
        """Take note of a report."""
        self.versions.update(report.get("seen", {}))
        self.known = max(self.known, report.get("known", 0))
        self.met += report.get("changed", 0) + report.get("before", {}).get("rows", 0)

    def conclude(self, plan: Plan, epoch: Epoch) -> list[str]:
        """Note what was looked at, now that all rows are done, and find those that are no longer in the source.

        Returns:
            Their ids, those that an earlier run told of left out.

        Raises:
            UserError: source or sink fail.
        """
        if plan.resolved()["source"].get("limit") or not plan.source.fragments:
            return []
        of_file: dict[str, list[Fragment]] = {}
        for fragment in plan.source.fragments:
            of_file.setdefault(fragment.file, []).append(fragment)
        compared = {*self.versions} | ({""} if self.met < self.known else set())
        look = ray.remote(num_cpus=0)(vanished)
        changed = {file: of_file[file] for file in compared & of_file.keys()}
        ids: list[str] = ray.get(look.remote(epoch.store, changed, set(map(ledger.file_key, of_file))))
        if ids:
            sink = pa.BufferOutputStream()
            pq.write_table(pa.table({SOURCE_ID: pa.array(ids, pa.string())}), sink)
            epoch.sink.put(f"{RUNS}/{epoch.run_id}/{VANISHED}", bytes(sink.getvalue()))
        seen.note(epoch, self.versions | dict.fromkeys(ids, GONE))
        return ids


def vanished(store: Store, changed: Mapping[str, Sequence[Fragment]], keys: set[str]) -> list[str]:
    """Ids of rows that are done and no longer in the source.

    Args:
        store: the sink.
        changed: files that were compared, each with all that it holds; the name is empty where ids tell no files.
        keys: of all files that there are.

    Raises:
        UserError: source or sink fail.
    """
    told, parts = Seen.load(store), ledger.by_file(ledger.committed(store))
    gone = [names for key, names in parts.items() if key not in keys]
    found = [i for names in gone for i in _missing(store, names, "", None, told)]
    for file, fragments in changed.items():
        there = np.sort(np.concatenate([_hashed(fragment.all_ids()) for fragment in fragments]))
        found += _missing(store, parts.get(ledger.file_key(file), []), file, there, told)
    return sorted(set(found))


def _missing(
    store: Store, names: Sequence[str], file: str, there: NDArray[np.uint64] | None, told: Seen
) -> Iterator[str]:
    """Ids in parts that are not there, and were not told of; of a file alone, if one is named."""
    for name, table in zip(names, ledger.outcomes(store, names, [SOURCE_ID]), strict=True):
        ids = table[SOURCE_ID]
        lost = pc.invert(told.gone(ids, name))
        if file:
            lost = pc.and_(lost, pc.starts_with(ids, f"{file}#"))
        if there is not None and len(ids):
            hashes = _hashed(ids)
            at = np.minimum(np.searchsorted(there, hashes), max(len(there) - 1, 0))
            lost = pc.and_(lost, pa.array(there[at] != hashes if len(there) else np.ones(len(ids), bool)))
        yield from ids.filter(lost).to_pylist()


def _hashed(ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    values: NDArray[np.uint64] = pd.util.hash_array(ids.to_numpy(), categorize=False)
    return values
