"""The record of a run beside its rows: the resolved job, what it ran with, and what came out, so far or in the end.

It is written again every few seconds: whoever reads it sees how far the run is, and that it lives.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, Self

from jobs.plan import Plan
from jobs.sink.ledger import RUNS, Epoch, Start
from jobs.sink.pace import Pace, Paces
from jobs.sink.timeline import Timeline
from jobs.summary import Summary
from operators.errors import SinkError

_PACKAGES = ("latentmill", "diffusers", "pillow", "pyarrow", "ray", "safetensors", "torch", "transformers")


class Record:
    """A run's ``run.json`` for as long as the ``with`` block lasts; how the block ends is how the run ended.

    ``state`` is ``running``, and at the end ``done``, ``stopped`` (by a signal) or ``failed``.
    """

    def __init__(
        self,
        epoch: Epoch,
        start: Start,
        plan: Plan,
        resources: list[dict[str, Any]],
        revisions: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._epoch = epoch
        self._every = start.beat_seconds
        self._beat = 0
        self._summary: dict[str, Any] = {}
        self._pace, self._step_paces = Pace(), Paces()
        self._timeline = Timeline()
        self._over_time = self._timeline.as_json()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="record", daemon=True)
        self._constant = {
            "run_id": epoch.run_id,
            "epoch": epoch.number,
            "mode": start.mode,
            "started": start.started,
            "holder": start.holder,
            "beat_seconds": start.beat_seconds,
            "fingerprint": start.fingerprint,
            "source": plan.source.uri,
            "sink": epoch.sink.uri,
            "rows": plan.rows,
            "source_columns": plan.source.schema.names,
            "job": plan.resolved(),
            "resources": resources,
            "revisions": dict(revisions),
            "packages": packages(),
        }

    @property
    def summary(self) -> dict[str, Any]:
        """The counts that it was told last, which change no more."""
        return self._summary

    def tell(self, summary: Summary, report: Mapping[str, Any] | None = None) -> None:
        """Have the counts so far in the record from the next beat on, and when the work on a part was done."""
        if report is not None:
            self._timeline.add(report)
        self._summary, self._over_time = summary.as_json(), self._timeline.as_json()

    def __enter__(self) -> Self:
        self._write("running")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if kind is None:
            self._write("done")
            return
        # What ended the run is worth more than that it can't be written down, which often is the same.
        with contextlib.suppress(SinkError):
            self._write("failed" if issubclass(kind, Exception) else "stopped")

    def _live(self) -> None:
        while not self._ended.wait(self._every):
            # A store that is away for a while may be back at the next beat; the last write tells if it is not.
            with contextlib.suppress(SinkError):
                self._write("running")

    def _write(self, state: str) -> None:
        self._beat += 1
        now = datetime.now(UTC).isoformat()
        steps = {name: step["rows"] for name, step in self._summary.get("steps", {}).items()}
        pace = {
            "rows_per_second_lately": self._pace.told(self._summary.get("rows_in", 0)),
            "steps_per_second_lately": self._step_paces.told(steps),
        }
        told = {"state": state, "beat": self._beat, "updated": now, "summary": self._summary} | pace
        told |= {"timeline": self._over_time}
        ended = {} if state == "running" else {"ended": now}
        data = json.dumps(self._constant | told | ended, indent=1).encode()
        self._epoch.sink.put(f"{RUNS}/{self._epoch.run_id}/run.json", data)


def packages() -> dict[str, str | None]:
    """Versions of what decides the last bit of a row, here and now."""
    return {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
