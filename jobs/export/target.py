"""Where a dataset goes: refused if something is there, and what is done of it, so that a killed export goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from jobs.export.splitting import Shard
from jobs.export.writing import DATA, File, Written
from jobs.sink.ledger import STATE
from jobs.stores.store import Store
from operators.errors import SinkError

CARD, CROISSANT = "README.md", "croissant.json"

_STATE = "_export"
_PLAN = f"{_STATE}/plan.json"


@dataclass(frozen=True)
class Target:
    """An empty place, or one with an unfinished export of the same rows in the same form."""

    store: Store

    @classmethod
    def begin(cls, store: Store, plan: dict[str, Any], overwrite: bool) -> Target:
        """See that an export may go to a place, and note which one it is.

        Args:
            store: the place.
            plan: what decides the dataset's content, as JSON has it.
            overwrite: remove the dataset that is there.

        Raises:
            SinkError: something is there, or the place can't be written.
        """
        if store.names(STATE):
            raise SinkError("this is the sink of a job; name another folder for the dataset", store.uri)
        told, data = json.dumps(plan, sort_keys=True).encode(), store.get(_PLAN)
        if data != told and data is not None and not overwrite:
            advice = "`--overwrite` begins anew, or name another folder"
            raise SinkError(f"holds an unfinished export of other rows or with other options; {advice}", store.uri)
        if data != told and store.names("") and not overwrite:
            raise SinkError("is not empty; `--overwrite` replaces the dataset there, or name another folder", store.uri)
        if data != told and overwrite:
            store.remove([CARD, CROISSANT])
            store.remove_folders([DATA, _STATE])
        store.put(_PLAN, told)
        return cls(store)

    def done(self, shard: Shard) -> Written | None:
        """What came of a shard, if it has been written."""
        data = self.store.get(_note(shard))
        if data is None:
            return None
        told = json.loads(data)
        return Written(**told | {"files": tuple(File(**file) for file in told["files"])})

    def note(self, shard: Shard, written: Written) -> None:
        """Note what came of a shard that is whole."""
        self.store.put(_note(shard), json.dumps(asdict(written)).encode())

    def end(self, card: str, croissant: dict[str, Any]) -> None:
        """Write what tells of the dataset, and then remove the notes: it is complete."""
        self.store.put(CROISSANT, (json.dumps(croissant, indent=1, ensure_ascii=False) + "\n").encode())
        self.store.put(CARD, card.encode())
        self.store.remove_folders([_STATE])
        self.store.discard_unfinished()


def _note(shard: Shard) -> str:
    return f"{_STATE}/{shard.name}.json"
