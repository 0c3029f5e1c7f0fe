"""A run tells of itself as it begins, goes on and ends: to the journal in its record, and to a server if one is set."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

from openlineage.client.event_v2 import RunState

from jobs.openlineage.events import Event, Events
from jobs.openlineage.journal import Journal, before
from jobs.openlineage.outbox import Letter, Outbox
from jobs.plan import Plan
from jobs.secrecy import redacted
from jobs.sink.ledger import Epoch, Start
from jobs.sink.record import Record
from jobs.summary import Summary
from operators.errors import LatentmillError, SinkError

_AT_THE_END = 5.0
"""Seconds that a run's end may wait for the server."""


class Emitter:
    """A run's events for as long as the ``with`` block lasts; how the block ends is how the run ended.

    Before its own START comes the end of the run before it, if that was killed and could not tell, and what a server
    did not get of earlier runs. Whatever the server does, the block goes on.
    """

    def __init__(
        self, plan: Plan, start: Start, epoch: Epoch, summary: Summary, record: Record, key: str | None
    ) -> None:
        """Get ready.

        Args:
            plan: the job.
            start: of the run.
            epoch: likewise.
            summary: the counts, which go on while the block lasts; it is told at the end what was not sent.
            record: what has the counts so far, and is told of those in the end.
            key: bearer token for the server.
        """
        self._plan, self._start, self._epoch, self._summary, self._record = plan, start, epoch, summary, record
        self._url = plan.job.lineage.openlineage
        self._outbox = None if self._url is None else Outbox(self._url, key)
        self._journal = Journal(epoch.sink, epoch.run_id)
        self._told = 0
        self._overtaken = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="events", daemon=True)

    def __enter__(self) -> Self:
        self._events = Events(self._plan, self._start, self._epoch, self._catch_up())
        if self._url is not None:
            self._journal.note_sent(0, self._url)
        self._emit(RunState.START, self._summary.as_json())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        # What ended the run is worth more than that it can't be written down.
        with contextlib.suppress(SinkError):
            state, why = self._end(error)
            self._emit(state, self._summary.as_json(), why)
        if self._outbox is not None:
            self._summary.events_unsent = self._outbox.close(_AT_THE_END)
            self._summary.events_trouble = self._outbox.trouble if self._summary.events_unsent else ""
            self._record.tell(self._summary)

    def _live(self) -> None:
        while not self._ended.wait(self._plan.job.lineage.running_seconds):
            with contextlib.suppress(SinkError):
                self._emit(RunState.RUNNING, self._record.summary)

    def _end(self, error: BaseException | None) -> tuple[RunState, tuple[str, str] | None]:
        if error is None and self._summary.accepted:
            return RunState.COMPLETE, None
        if error is None:
            allowed = self._plan.job.max_rejects
            return RunState.FAIL, ("too_many_rejects", f"more rows were rejected than max_rejects = {allowed} allows")
        if not isinstance(error, Exception):
            return RunState.ABORT, ("stopped", "the run was stopped by a signal")
        code = error.code if isinstance(error, LatentmillError) else LatentmillError.code
        return RunState.FAIL, (code, redacted(str(error) or type(error).__name__))

    def _emit(self, state: RunState, summary: Mapping[str, Any], error: tuple[str, str] | None = None) -> None:
        event = self._events.event(state, summary, error)
        number = None if self._overtaken else self._journal.write(self._told + 1, event)
        # Whoever takes this run's place tells that it has ended; then nothing comes after that.
        self._overtaken = number is None
        if number is not None:
            self._told = number
            self._send(self._journal, number, event)

    def _catch_up(self) -> Event | None:
        """End the last run, if it did not tell how it ended, and send what the server lacks, the oldest run first.

        Returns:
            The first event of the last run that told anything.
        """
        last, lacking = None, []
        for journal in before(self._epoch):
            if last is None:
                journal.conclude(self._epoch.run_id)
                last = journal.read(1)
            unsent = journal.unsent(self._url) if self._url else []
            if last is not None and not unsent:
                break
            lacking.append((journal, unsent))
        for journal, unsent in reversed(lacking):
            for number, event in unsent:
                self._send(journal, number, event)
        return last

    def _send(self, journal: Journal, number: int, event: Event) -> None:
        if self._outbox is not None and self._url is not None:
            self._outbox.put(Letter(event, partial(_note, journal, number, self._url)))


def _note(journal: Journal, number: int, url: str) -> None:
    # At worst the next run sends it again.
    with contextlib.suppress(SinkError):
        journal.note_sent(number, url)
