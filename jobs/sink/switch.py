"""Putting a sink's next generation in the place of the one that it has, all at once for whoever goes by the switch.

The commit point is one object, ``_latentmill/switch.json``, with the epoch and the parts that count from then on. What
it asks for is then done, or finished by the next start: old parts are removed, new ones copied to their place and
noted, and the switch taken away. Until then the new parts are whole below ``_latentmill/next``; after it, what is there
without a note is nobody's.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from jobs.sink import ledger
from jobs.sink.ledger import FOLDERS, NEXT, NOTES, SWITCH, Epoch
from jobs.stores.store import Store

_COPIERS = 32


def switch(epoch: Epoch) -> None:
    """Make the parts of an overwriting run, which is complete, the sink's.

    Raises:
        SinkError: a later run has taken over the sink, or it can't be written.
    """
    epoch.refuse_if_overtaken()
    parts = ledger.committed(epoch.store)
    epoch.sink.put(SWITCH, json.dumps({"epoch": epoch.number, "parts": parts}).encode())
    # A run that begins from here on sees the switch and finishes it; one that began before may have missed it.
    epoch.refuse_if_overtaken()
    finish(epoch)


def finish(epoch: Epoch) -> None:
    """Do what is left of a switch, if there is one, before an epoch's run begins or as it ends.

    Raises:
        SinkError: the sink can't be written.
    """
    sink, following = epoch.sink, ledger.next_generation(epoch.sink)
    data = sink.get(SWITCH)
    if data is not None:
        wanted = json.loads(data)
        # One that came after the note of a later epoch is of a run that had been overtaken.
        if wanted["epoch"] >= ledger.newest(sink.names(NOTES)):
            _replace(sink, following, **wanted)
        sink.remove([SWITCH])
    if not following.names(NOTES):
        ledger.sweep(following, [], before=epoch.number + 1)


def _replace(sink: Store, following: Store, epoch: int, parts: list[str]) -> None:
    ledger.sweep(sink, parts, before=epoch + 1)
    _copy(sink, following, {ledger.stem(name) for name in parts})
    ledger.note(sink, epoch, parts)
    following.remove(f"{NOTES}/{name}" for name in following.names(NOTES) if ledger.newest([name]) <= epoch)


def _copy(sink: Store, following: Store, stems: set[str]) -> None:
    def copy(name: str) -> None:
        sink.copy(f"{NEXT}/{name}", name)

    with ThreadPoolExecutor(_COPIERS) as pool:
        for folder in FOLDERS:
            missing = set(following.below(folder)).difference(sink.below(folder))
            list(pool.map(copy, [name for name in missing if _stem(folder, name) in stems]))


def _stem(folder: str, name: str) -> str:
    """Of the part that an object below a folder belongs to."""
    return ledger.stem(name[len(folder) + 1 :].split("/")[0])
