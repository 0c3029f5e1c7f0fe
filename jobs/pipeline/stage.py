"""The actor that takes parts through the steps of one stage."""

from __future__ import annotations

import hashlib
import secrets
import socket
import time
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cluster import pools
from cluster.placement import Placement
from jobs.pipeline.parts import pack, unpack
from jobs.pipeline.suspects import Suspects
from jobs.sink import batches
from operators import Spec, columns
from operators.errors import UserError
from operators.models.machine import machine
from operators.models.memory import card_share


class StageActor:
    """Takes every part through the steps of a stage."""

    def __init__(self, specs: Sequence[Spec], placement: Placement, suspects: Suspects) -> None:
        self.suspects = suspects
        self.stage = placement.name
        self.actor = {"actor": secrets.token_hex(6), "host": socket.gethostname(), "began": time.time()}
        self.refusal: UserError | None = None
        try:
            suspects.load()
            self.operators = pools.load(specs, placement)
            suspects.loaded()
        except UserError as error:
            # Ray tells what a call raised, but of what a constructor raised only the text.
            self.refusal = error

    def __call__(self, row: pa.Table) -> pa.Table:
        """One part, with the columns that the steps add and the seconds that they took."""
        if self.refusal is not None:
            raise self.refusal
        table, notes = unpack(row)
        if not table.num_rows:
            return row
        part = _name(table)
        notes["began"] = notes["began"] or time.time()
        for operator in self.operators:
            live = pc.sum(pc.and_(pc.is_null(table[columns.ERROR]), table[columns.KEPT])).as_py()
            watch = self.suspects.watch(part, operator.step)
            started, began = time.time(), time.perf_counter()
            table = operator(table, watch)
            seconds = time.perf_counter() - began
            rows = live * (len(operator.spec.branches()) or 1)
            measured = {"rows": rows, "began": started, "seconds": seconds, "card": card_share(), "machine": machine()}
            notes["steps"][operator.step] = measured | {"weights": operator.digests()}
            notes["noted"] |= batches.noted(operator.step, operator.batch_sizes)
        notes.setdefault("actors", {})[self.stage] = self.actor | {"ended": time.time()}
        packed = pack(table, notes)
        self.suspects.end(part)
        return packed


def _name(table: pa.Table) -> str:
    """The same for the same rows, however often they come."""
    return hashlib.blake2b("\0".join(table[columns.ROW_ID].to_pylist()).encode(), digest_size=16).hexdigest()
