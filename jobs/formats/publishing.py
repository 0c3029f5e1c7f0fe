"""The Lance table of a sink: brought to hold the rows of exactly the parts that count, one version at a time.

A part's outcomes tell which data file is its fragment; the driver makes the table of them. What a version added is told
by the version itself, in the properties of its transaction, and for quick reading by a record beside the outcomes. So
if a run dies between the two, or an answer is lost, the next one sees what was done and never does it twice. A version
is only ever made of the one that was looked at: if another writer was first, it is looked at again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats.replacing import Holders, forget, holders
from jobs.formats.snapshots import Snapshot, record, recorded
from jobs.formats.table import FILES, FRAGMENT, REPLACED, location, options_for, table
from jobs.sink import ledger
from jobs.sink.ledger import Epoch
from jobs.stores.access import explained
from jobs.stores.store import Store
from operators.columns import SOURCE_ID
from operators.errors import SinkError

if TYPE_CHECKING:
    from lance import LanceDataset, LanceOperation
    from lance.fragment import FragmentMetadata, LanceFragment

_TOLD = "latentmill"
_THREADS = 32


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

    place = location(change.sink)
    new, replaced = _told(change.sink, change.parts)
    held = holders(change.sink, replaced, change.epoch)
    fragments = change.table.get_fragments() if change.table else []
    kept = _kept(fragments, change.gone, held, replaced)
    added, removed = sum(fragment.num_rows for fragment in new), sum(one.lost for one in kept)
    version = change.table.version if change.table else 0
    snapshot = Snapshot(
        version + bool(new or removed),
        change.epoch,
        change.run_id,
        datetime.now(UTC).isoformat(timespec="seconds"),
        sum(one.left.num_rows for one in kept if one.left) + added,
        added,
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
            lance.LanceDataset.commit(place, transaction, max_retries=0, storage_options=options_for(place))
        except OSError:
            now = table(change.sink)
            if (now.version if now else 0) == version:
                raise
            return
    forget(change.sink, held)
    record(change.sink, snapshot)
    _remove_others(change.sink, change.parts, {fragment.files[0].path for fragment in new})


def _remove_others(sink: Store, parts: list[str], files: set[str]) -> None:
    """Remove data files that tasks wrote of parts that other tasks committed with another one."""
    stems = {ledger.stem(name) for name in parts}
    others = [name for name in ledger.parts(sink, FILES) if ledger.stem(name) in stems and name not in files]
    sink.remove(f"{FILES}/{name}" for name in others)


def _told(sink: Store, parts: Sequence[str]) -> tuple[list[FragmentMetadata], dict[str, set[str]]]:
    """What the parts' outcomes tell: their fragments; and source rows that they replace, by the key of the file."""
    from lance.fragment import FragmentMetadata

    fragments: list[FragmentMetadata] = []
    replaced: dict[str, set[str]] = {}
    for name, outcomes in zip(parts, ledger.outcomes(sink, parts, []), strict=True):
        told = outcomes.schema.metadata or {}
        if FRAGMENT.encode() in told:
            fragments.append(FragmentMetadata.from_json(told[FRAGMENT.encode()].decode()))
        if REPLACED.encode() in told:
            replaced.setdefault(ledger.file_of(name), set()).update(json.loads(told[REPLACED.encode()]))
    return fragments, replaced


def _kept(
    fragments: list[LanceFragment], gone_parts: list[str], held: Holders, replaced: dict[str, set[str]]
) -> list[_Kept]:
    """What becomes of each fragment of the table."""
    gone = {ledger.stem(name) for name in gone_parts}
    ids_in = {ledger.stem(name): ids for name, ids in held.items()}
    everything = set().union(*replaced.values())

    def kept(fragment: LanceFragment) -> _Kept:
        stem = ledger.stem(fragment.metadata.files[0].path)
        if stem in gone:
            return _Kept(fragment, None)
        # A fragment that the table's owner has made of others may hold rows of any part.
        ids = ids_in.get(stem, []) if ledger.is_part(stem) else _held(fragment, everything)
        return _Kept(fragment, _without(fragment, ids) if ids else fragment.metadata)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(kept, fragments))


@dataclass(frozen=True)
class _Kept:
    """A fragment of the table, and what is left of it."""

    fragment: LanceFragment
    left: FragmentMetadata | None

    @property
    def lost(self) -> int:
        """Rows that are no longer there."""
        return self.fragment.metadata.num_rows - (self.left.num_rows if self.left else 0)


def _without(fragment: LanceFragment, ids: list[str]) -> FragmentMetadata | None:
    quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in ids)
    return fragment.delete(f"{SOURCE_ID} IN ({quoted})")


def _held(fragment: LanceFragment, ids: set[str]) -> list[str]:
    """Which of these source rows a fragment has rows of."""
    wanted, found = pa.array(ids, pa.string()), set[str]()
    for batch in fragment.to_batches(columns=[SOURCE_ID]) if ids else ():
        found.update(batch[SOURCE_ID].filter(pc.is_in(batch[SOURCE_ID], wanted)).to_pylist())
    return sorted(found)


def _operation(
    change: _Change, kept: list[_Kept], new: list[FragmentMetadata], schema: pa.Schema
) -> LanceOperation.BaseOperation:
    """Each of these is refused by Lance if it isn't made of the newest version; an Append would not be."""
    from lance import LanceOperation

    left = [one.left for one in kept if one.left]
    if not left or not change.table:
        return LanceOperation.Overwrite(schema, new)
    if not any(one.lost for one in kept):
        return LanceOperation.Merge([*left, *new], change.table.lance_schema)
    return LanceOperation.Update(
        removed_fragment_ids=[one.fragment.fragment_id for one in kept if not one.left],
        updated_fragments=[one.left for one in kept if one.left and one.lost],
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
                forget(sink, holders(sink, _told(sink, known[-1].parts)[1], known[-1].epoch))
                record(sink, known[-1])
    return known
