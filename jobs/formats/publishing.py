"""The Lance table of a sink: brought to hold the rows of exactly the parts that count, one version at a time.

A part's outcomes tell which data file is its fragment; the driver makes the table of them. What a version added is told
by the version itself, in the properties of its transaction, and for quick reading by a record beside the outcomes. So
if a run dies between the two, or an answer is lost, the next one sees what was done and never does it twice. A version
is only ever made of the one that was looked at: if another writer was first, it is looked at again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from jobs import ledger
from jobs.access import explained
from jobs.formats.snapshots import Snapshot, record, recorded
from jobs.formats.table import FILES, FRAGMENT, location, storage_options, table
from jobs.ledger import Epoch
from jobs.storage import Store
from operators.columns import SOURCE_ID
from operators.errors import SinkError

if TYPE_CHECKING:
    from lance import LanceDataset, LanceOperation
    from lance.fragment import FragmentMetadata, LanceFragment

REPLACED = "latentmill.replaced"
"""Metadata of a part's outcomes: ids of source rows (JSON) whose earlier outputs are to go."""

_TOLD = "latentmill"


def publish(epoch: Epoch, schema: pa.Schema) -> list[Snapshot]:
    """Bring the table to hold the rows of the parts that count: one version for each run that has something new.

    Args:
        epoch: of the run that does it, while no worker of its own is at work.
        schema: of the dataset, for a table that is new.

    Raises:
        SinkError: a later run has taken over the sink, or the table can't be read or written.
    """
    with explained(epoch.sink.uri, SinkError):
        before = set(_recorded(epoch.sink, table(epoch.sink)))
        while change := _next(epoch):
            _make(change, schema)
        return [snapshot for snapshot in _recorded(epoch.sink, table(epoch.sink)) if snapshot not in before]


def sweep(epoch: Epoch, before: int) -> None:
    """Remove data files that no version of the table ever had nor will have, but none of epoch ``before`` and later.

    Raises:
        SinkError: the sink can't be read or written.
    """
    sink = epoch.sink
    counted = ledger.committed(sink) + ledger.committed(ledger.next_generation(sink))
    kept = {ledger.stem(name) for name in counted}
    kept.update(ledger.stem(name) for snapshot in snapshots(sink) for name in snapshot.parts)
    files = ledger.parts(sink, FILES)
    sink.remove(f"{FILES}/{n}" for n in files if ledger.stem(n) not in kept and ledger.epoch_of(n) < before)


def snapshots(sink: Store) -> list[Snapshot]:
    """What runs did to the table, oldest first.

    Raises:
        SinkError: the sink can't be read.
    """
    with explained(sink.uri, SinkError):
        return _recorded(sink, table(sink))


@dataclass(frozen=True)
class _Change:
    """What the table lacks of one run's parts, or has too much."""

    sink: Store
    table: LanceDataset | None
    epoch: int
    run_id: str
    parts: list[str]
    gone: list[str]


def _next(epoch: Epoch) -> _Change | None:
    """Look what is to be done first, if anything is."""
    sink = epoch.sink
    found = table(sink)
    live: set[str] = set()
    for snapshot in _recorded(sink, found):
        live = live.difference(snapshot.gone).union(snapshot.parts)
    counted = ledger.committed(sink)
    # After the look at what counts: a run that begins from here on counts at least that.
    epoch.refuse_if_overtaken()
    new, gone = [name for name in counted if name not in live], sorted(live.difference(counted))
    if not new and not gone:
        return None
    # A generation takes the place of another at once; else each run has a version of its own.
    number = max(map(ledger.epoch_of, new), default=epoch.number) if gone else min(map(ledger.epoch_of, new))
    parts = new if gone else [name for name in new if ledger.epoch_of(name) == number]
    start = ledger.entry(sink, number)
    return _Change(sink, found, number, start.run_id if start else epoch.run_id, parts, gone)


def _make(change: _Change, schema: pa.Schema) -> None:
    """Make a change, unless somebody else has changed the table since; then it is to be looked at again."""
    import lance

    new, replaced = _told(change)
    kept = list(_kept(change, replaced)) if change.table else []
    removed = sum(rows for _, _, rows in kept)
    rows = sum(fragment.num_rows for _, fragment, _ in kept if fragment) + sum(fragment.num_rows for fragment in new)
    version = change.table.version if change.table else 0
    snapshot = Snapshot(
        version + bool(new or removed),
        change.epoch,
        change.run_id,
        datetime.now(UTC).isoformat(timespec="seconds"),
        rows,
        sum(fragment.num_rows for fragment in new),
        removed,
        tuple(change.parts),
        tuple(change.gone),
    )
    if new or removed:
        operation = _operation(change, kept, new, schema)
        told = {name: value for name, value in asdict(snapshot).items() if name != "version"}
        transaction = lance.Transaction(version, operation, transaction_properties={_TOLD: json.dumps(told)})
        try:
            # Without retries it is made of that version or not at all: never twice, whoever was first.
            lance.LanceDataset.commit(
                location(change.sink), transaction, max_retries=0, storage_options=storage_options(change.sink)
            )
        except OSError:
            now = table(change.sink)
            if (now.version if now else 0) == version:
                raise
            return
    record(change.sink, snapshot)
    _remove_others(change.sink, change.parts, {fragment.files[0].path for fragment in new})


def _remove_others(sink: Store, parts: list[str], files: set[str]) -> None:
    """Remove data files that tasks wrote of parts that other tasks committed with another one."""
    stems = {ledger.stem(name) for name in parts}
    others = [name for name in ledger.parts(sink, FILES) if ledger.stem(name) in stems and name not in files]
    sink.remove(f"{FILES}/{name}" for name in others)


def _told(change: _Change) -> tuple[list[FragmentMetadata], dict[str, set[str]]]:
    """What the parts' outcomes tell: their fragments; and source rows that they replace, by the key of the file."""
    from lance.fragment import FragmentMetadata

    fragments: list[FragmentMetadata] = []
    replaced: dict[str, set[str]] = {}
    for name, outcomes in zip(change.parts, ledger.outcomes(change.sink, change.parts, []), strict=True):
        told = outcomes.schema.metadata or {}
        if FRAGMENT.encode() in told:
            fragments.append(FragmentMetadata.from_json(told[FRAGMENT.encode()].decode()))
        if REPLACED.encode() in told:
            replaced.setdefault(ledger.file_of(name), set()).update(json.loads(told[REPLACED.encode()]))
    return fragments, replaced


def _kept(change: _Change, replaced: dict[str, set[str]]) -> Iterator[tuple[int, FragmentMetadata | None, int]]:
    """Each fragment of the table: its number, what it becomes (None if nothing is left), and how many rows it loses."""
    assert change.table is not None  # noqa: S101
    gone = {ledger.stem(name) for name in change.gone}
    everything = set().union(*replaced.values())
    for fragment in change.table.get_fragments():
        stem, rows = ledger.stem(fragment.metadata.files[0].path), fragment.metadata.num_rows
        # A fragment that the table's owner has made of others may hold rows of any file.
        ids = replaced.get(ledger.file_of(stem), set()) if ledger.is_part(stem) else everything
        if stem in gone:
            yield fragment.fragment_id, None, rows
        elif ids and (found := _held(fragment, ids)):
            left = fragment.delete(f"{SOURCE_ID} IN ({', '.join(map(_quoted, found))})")
            yield fragment.fragment_id, left, rows - (left.num_rows if left else 0)
        else:
            yield fragment.fragment_id, fragment.metadata, 0


def _held(fragment: LanceFragment, ids: set[str]) -> list[str]:
    """Which of these source rows a fragment has rows of."""
    wanted = pa.array(ids, pa.string())
    found: set[str] = set()
    for batch in fragment.to_batches(columns=[SOURCE_ID]):
        found.update(batch[SOURCE_ID].filter(pc.is_in(batch[SOURCE_ID], wanted)).to_pylist())
    return sorted(found)


def _operation(
    change: _Change,
    kept: list[tuple[int, FragmentMetadata | None, int]],
    new: list[FragmentMetadata],
    schema: pa.Schema,
) -> LanceOperation.BaseOperation:
    """Each of these is refused by Lance if it isn't made of the newest version; an Append would not be."""
    from lance import LanceOperation

    left = [fragment for _, fragment, _ in kept if fragment]
    if not left or not change.table:
        return LanceOperation.Overwrite(schema, new)
    changed = [fragment for _, fragment, lost in kept if fragment and lost]
    if len(left) == len(kept) and not changed:
        return LanceOperation.Merge([*left, *new], change.table.lance_schema)
    return LanceOperation.Update(
        removed_fragment_ids=[number for number, fragment, _ in kept if not fragment],
        updated_fragments=changed,
        new_fragments=new,
    )


def _recorded(sink: Store, found: LanceDataset | None) -> list[Snapshot]:
    """The snapshots, oldest first; a record that a run that died still owes is made up for."""
    known = recorded(sink)
    last = max((snapshot.version for snapshot in known), default=0)
    if found and found.version > last:
        for version in sorted(item["version"] for item in found.versions() if item["version"] > last):
            transaction = found.read_transaction(version)
            told = (transaction.transaction_properties or {}).get(_TOLD) if transaction else None
            if told:
                known.append(Snapshot.parse(told, version=version))
                record(sink, known[-1])
    return known


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
