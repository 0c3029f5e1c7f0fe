"""All parts of a sink together: ids compared as 64-bit hashes, 8 bytes a row, and looked up only where they meet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.sink.ledger import OUTCOMES, REJECTS
from jobs.verifying.listing import Listing
from jobs.verifying.part import RESTORE, Hashes, Seen
from jobs.verifying.verdict import Code, Fault

_LOOKED_UP = 1000
"""Ids that are looked up, of those that are there twice."""

Ids = Callable[[str], list[str]]
"""The ids that a part holds, by its name."""
Remedy = Callable[[str], str]
"""What makes a part anew, by its name."""


def doubled_rows(parts: Sequence[Seen], ids: Ids, listing: Listing) -> Iterator[Fault]:
    """Rows whose id another row has too."""
    for names, rows in _doubled(parts, [part.rows for part in parts], ids):
        what = "rows of these ids are there more than once"
        where = " and ".join(map(listing.rows.where, names))
        yield Fault.about(Code.ROW_DOUBLED, what, where, listing.remedy(names[-1]), rows)


def doubled_outcomes(parts: Sequence[Seen], ids: Ids, remedy: Remedy) -> Iterator[Fault]:
    """Source rows that have two outcomes of the same attempt."""
    keys = [part.sources + part.attempts.astype(np.uint64) for part in parts]
    for names, rows in _doubled(parts, keys, ids):
        what = "source rows have more than one outcome"
        where = " and ".join(f"{OUTCOMES}/{name}" for name in names)
        yield Fault.about(Code.OUTCOME_DOUBLED, what, where, remedy(names[-1]), rows)


def wrong_rejects(parts: Sequence[Seen], ids: Ids, remedy: Remedy) -> Iterator[Fault]:
    """Source rows whose newest outcome tells of more or fewer rejected rows than there are."""
    found, counts = np.unique(_joined([part.rejected for part in parts]), return_counts=True)
    sources, attempts = _joined([part.sources for part in parts]), _joined([part.attempts for part in parts])
    promised = _joined([part.rejects for part in parts])
    # Most source rows came out at the first attempt, and nothing was rejected of them.
    lines = np.flatnonzero((promised > 0) | (attempts > 1) | np.isin(sources, found))
    lines = lines[np.lexsort((attempts[lines], sources[lines]))]
    newest = lines[np.append(sources[lines][1:] != sources[lines][:-1], True)[: len(lines)]]
    told = np.isin(found, sources[newest])
    there = np.zeros(len(newest), np.int64)
    there[np.searchsorted(sources[newest], found[told])] = counts[told]
    for part, places in _by_part(np.sort(newest[there != promised[newest]]), [part.sources for part in parts]):
        name = parts[part].name
        what = f"the newest outcomes of {len(places):,} source rows tell of other numbers of rejects"
        yield Fault.about(Code.REJECTS_DISAGREE, what, f"{REJECTS}/{name}", remedy(name), _picked(ids(name), places))
    strange = set(found[~told].tolist())
    for seen in parts if strange else ():
        count = sum(source in strange for source in seen.rejected.tolist())
        if count:
            what = f"{count:,} rejected rows have no outcome"
            yield Fault.about(Code.REJECTS_DISAGREE, what, f"{REJECTS}/{seen.name}", remedy(seen.name))


def other_columns(parts: Sequence[Seen], listing: Listing) -> Iterator[Fault]:
    """Parts whose columns are not those of most parts."""
    alike = defaultdict[str, list[tuple[str, pa.Schema]]](list)
    for part in parts:
        if part.schema is not None:
            columns = part.schema.to_string(show_field_metadata=False, show_schema_metadata=False)
            alike[columns].append((part.name, part.schema))
    if not alike:
        return
    usual = max(alike, key=lambda columns: len(alike[columns]))
    first, expected = alike.pop(usual)[0]
    for name, schema in (part for others in alike.values() for part in others):
        differing = sorted({field.name for field in {*schema} ^ {*expected}})
        what = f"column {', '.join(map(repr, differing)) or 'order'} is another than in {first}"
        yield Fault.about(Code.COLUMNS_DIFFER, what, listing.rows.where(name), listing.remedy(name))


def rows_of_any_part(parts: Sequence[Seen], lines: Ids, listing: Listing) -> Iterator[Fault]:
    """Where rows of several parts lie together: source rows with more or fewer rows than all their outcomes say."""
    sources, rows = [part.sources for part in parts], _joined([part.rows_sources for part in parts])
    told, owners = np.unique(_joined(sources), return_inverse=True)
    promised = np.bincount(owners, _joined([part.outputs for part in parts]), len(told)).astype(np.int64)
    found, counts = np.unique(rows, return_counts=True)
    there = np.zeros(len(told), np.int64)
    known = np.isin(found, told)
    there[np.searchsorted(told, found[known])] = counts[known]
    contents = np.isin(_joined([part.rows_contents for part in parts]), _joined([part.contents for part in parts]))
    # A source row of which nothing is told was counted already.
    altered = np.isin(told, rows[~contents])
    for wrong, code, what in (
        (there != promised, Code.OUTPUTS_DISAGREE, "source rows have other numbers of rows than their outcomes say"),
        (altered, Code.CONTENT_DIFFERS, "source rows have another content hash than in their outcomes"),
    ):
        for part, places in _by_part(np.flatnonzero(wrong[owners]), sources):
            name = parts[part].name
            ids = _picked(lines(name), places)
            yield Fault.about(code, f"{len(ids):,} {what}", listing.rows.folder, listing.remedy(name), ids)
    if not known.all():
        what = f"{int((~known).sum()):,} source rows have rows, but no outcome"
        yield Fault.about(Code.OUTPUTS_DISAGREE, what, listing.rows.folder, RESTORE)


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


def _by_part(places: NDArray[np.intp], arrays: Sequence[NDArray[Any]]) -> Iterator[tuple[int, list[int]]]:
    """Sorted places in joined arrays as places in each of them."""
    ends = np.cumsum([len(array) for array in arrays])
    owners = np.searchsorted(ends, places, "right")
    for part in np.unique(owners):
        first = ends[part] - len(arrays[part])
        yield int(part), [int(place - first) for place in places[owners == part]]


def _picked(ids: list[str], places: list[int]) -> list[str]:
    return [ids[place] for place in places]


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, np.uint64)
