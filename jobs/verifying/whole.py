"""All parts of a sink together: ids compared as 64-bit hashes, 8 bytes a row, and looked up only where they meet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.ledger import DATA, OUTCOMES, REJECTS
from jobs.verifying.part import Hashes, Seen
from jobs.verifying.verdict import Code, Fault

_LOOKED_UP = 1000
"""Ids that are looked up, of those that are there twice."""

Ids = Callable[[str], list[str]]
"""The ids that a part holds, by its name."""
Remedy = Callable[[str], str]
"""What makes a part anew, by its name."""


def doubled_rows(parts: Sequence[Seen], ids: Ids, remedy: Remedy) -> Iterator[Fault]:
    """Rows whose id another row has too."""
    for names, rows in _doubled(parts, [part.rows for part in parts], ids):
        what = "rows of these ids are there more than once"
        yield Fault.about(Code.ROW_DOUBLED, what, _places(DATA, names), remedy(names[-1]), rows)


def doubled_outcomes(parts: Sequence[Seen], ids: Ids, remedy: Remedy) -> Iterator[Fault]:
    """Source rows that have two outcomes of the same attempt."""
    keys = [part.sources + part.attempts.astype(np.uint64) for part in parts]
    for names, rows in _doubled(parts, keys, ids):
        what = "source rows have more than one outcome"
        yield Fault.about(Code.OUTCOME_DOUBLED, what, _places(OUTCOMES, names), remedy(names[-1]), rows)


def wrong_rejects(parts: Sequence[Seen], ids: Ids, remedy: Remedy) -> Iterator[Fault]:
    """Source rows whose newest outcome tells of more or fewer rejected rows than there are."""
    sources, attempts = _joined([p.sources for p in parts]), _joined([p.attempts for p in parts])
    promised = _joined([part.rejects for part in parts])
    order = np.lexsort((attempts, sources))
    newest = order[np.append(sources[order][1:] != sources[order][:-1], [True] * bool(len(order))).astype(bool)]
    known = sources[newest]
    found, counts = np.unique(_joined([part.rejected for part in parts]), return_counts=True)
    there = np.zeros(len(newest), np.int64)
    told = np.isin(found, known)
    there[np.searchsorted(known, found[told])] = counts[told]
    for part, places in _by_part(np.sort(newest[there != promised[newest]]), [p.sources for p in parts]):
        name = parts[part].name
        what = f"the newest outcomes of {len(places):,} source rows tell of other numbers of rejects"
        yield Fault.about(Code.REJECTS_DISAGREE, what, f"{REJECTS}/{name}", remedy(name), _picked(ids(name), places))
    for seen in parts:
        strange = int(np.isin(seen.rejected, found[~told]).sum())
        if strange:
            what = f"{strange:,} rejected rows have no outcome"
            yield Fault.about(Code.REJECTS_DISAGREE, what, f"{REJECTS}/{seen.name}", remedy(seen.name))


def other_columns(parts: Sequence[Seen], remedy: Remedy) -> Iterator[Fault]:
    """Parts whose columns are not those of the first."""
    told = [(part.name, part.schema) for part in parts if part.schema is not None]
    for name, schema in told[1:]:
        first, expected = told[0]
        if schema != expected:
            differing = sorted({field.name for field in {*schema} ^ {*expected}})
            what = f"column {', '.join(map(repr, differing)) or 'order'} is another than in {first}"
            yield Fault.about(Code.COLUMNS_DIFFER, what, f"{DATA}/{name}", remedy(name))


def _doubled(parts: Sequence[Seen], keys: list[Hashes], ids: Ids) -> Iterator[tuple[list[str], list[str]]]:
    """Parts that share ids, and the ids they share; each id once, as far as they are looked up."""
    joined = _joined(keys)
    order = np.argsort(joined, kind="stable")
    again = joined[order][1:] == joined[order][:-1]
    chosen = np.unique(joined[order][1:][again])[:_LOOKED_UP]
    holders: dict[str, list[str]] = defaultdict(list)
    for part, places in _by_part(np.flatnonzero(np.isin(joined, chosen)), keys):
        for row in _picked(ids(parts[part].name), places):
            holders[row].append(parts[part].name)
    shared: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row, names in holders.items():
        if len(names) > 1:
            shared[tuple(sorted(set(names)))].append(row)
    yield from (([*names], rows) for names, rows in sorted(shared.items()))


def _by_part(places: NDArray[np.intp], arrays: Sequence[NDArray[np.generic]]) -> Iterator[tuple[int, list[int]]]:
    """Sorted places in joined arrays as places in each of them."""
    ends = np.cumsum([len(array) for array in arrays])
    owners = np.searchsorted(ends, places, "right")
    for part in np.unique(owners):
        first = ends[part] - len(arrays[part])
        yield int(part), [int(place - first) for place in places[owners == part]]


def _picked(ids: list[str], places: list[int]) -> list[str]:
    return [ids[place] for place in places]


def _joined(arrays: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    return np.concatenate(arrays) if arrays else np.empty(0, np.uint64)


def _places(folder: str, names: list[str]) -> str:
    return " and ".join(f"{folder}/{name}" for name in names)
