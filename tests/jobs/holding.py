"""A process that holds a sink: what a run's driver does, without the run. Ends well when its input does."""

from __future__ import annotations

import dataclasses
import sys

import pyarrow as pa

from jobs import Job
from jobs.sink import ledger
from jobs.sink.holder import Holder
from jobs.sink.ledger import Start
from jobs.sink.record import Record
from jobs.stores.store import Store


def started(uri: str, beat_seconds: float, boot: str | None = None) -> tuple[ledger.Epoch, Record]:
    """The next epoch of a sink, and its record, not written yet; ``boot`` puts it on another machine."""
    sink, plan = Store(uri), Job(source=pa.table({"n": [1, 2]}), steps=[], sink=uri).plan()
    holder = Holder.here()
    holder = dataclasses.replace(holder, boot=boot or holder.boot)
    start = Start("held", plan.fingerprint, holder=holder.as_json(), beat_seconds=beat_seconds)
    epoch = ledger.claim(sink, start, ledger.check(sink, start))
    return epoch, Record(epoch, start, plan, [])


def main() -> None:
    uri, beat_seconds, *boot = sys.argv[1:]
    with started(uri, float(beat_seconds), *boot)[1]:
        sys.stdout.write("held\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
