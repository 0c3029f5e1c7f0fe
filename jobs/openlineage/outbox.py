"""Events on their way to a server: sent from a thread, in order, again and again while the server is away."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from threading import Condition, Thread
from typing import Any

import requests
from openlineage.client.event_v2 import RunState
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider
from urllib3.exceptions import HTTPError

from jobs.openlineage.events import Event

_ENDPOINT = "api/v1/lineage"
_TIMEOUT = 5.0
"""Seconds without a word from the server after which an attempt has failed."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two attempts, doubled each time."""

_REFUSALS = frozenset({400, 413, 422})
"""Answers that are about the event: it would be refused for ever, and the next one may not be."""

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True)
class Letter:
    """An event to send, and whom to tell when it was."""

    event: Event
    sent: Callable[[], None]

    def replaces(self, other: Letter) -> bool:
        """Whether it tells all that another one does: both tell how far the same run is."""
        here, there = self.event, other.event
        both: bool = here["eventType"] == there["eventType"] == RunState.RUNNING.value
        return both and here["run"]["runId"] == there["run"]["runId"]


class Outbox:
    """Sends letters in the order in which they were put.

    It holds at most the START, the newest RUNNING and the end of a run, however long the server is away.
    """

    def __init__(self, url: str, key: str | None) -> None:
        """Get ready; the thread starts with the first letter.

        Args:
            url: the server.
            key: sent as a bearer token.
        """
        base = url.rstrip("/").removesuffix(f"/{_ENDPOINT}") + "/"
        auth = ApiKeyTokenProvider({"api_key": key}) if key else TokenProvider({})
        never = {"total": 0, "read": False}
        self._transport = HttpTransport(HttpConfig(base, _ENDPOINT, timeout=_TIMEOUT, auth=auth, retry=never))
        self._waiting: deque[Letter] = deque()
        self._changed = Condition()
        self._closing = False
        self._refused = 0
        self.trouble = ""
        """Why the last attempt that failed did so; nothing secret is in it."""
        self._thread = Thread(target=self._send, name="openlineage", daemon=True)

    def put(self, letter: Letter) -> None:
        """Have a letter sent; never waits."""
        with self._changed:
            if self._waiting and letter.replaces(self._waiting[-1]):
                self._waiting.pop()
            self._waiting.append(letter)
            self._changed.notify()
        if self._thread.ident is None:
            self._thread.start()

    def close(self, seconds: float) -> int:
        """Try what is left, once more, for so many seconds at the most; how many events were not sent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        with self._changed:
            unsent = len(self._waiting) + self._refused
            self.trouble = self.trouble or (f"no answer in {seconds:.0f} s" if unsent else "")
            return unsent

    def _send(self) -> None:
        pause = _FIRST_PAUSE
        while (letter := self._next()) is not None:
            last = self._closing
            try:
                # The library takes what it would make of an event as well.
                answered: Any = letter.event
                self._transport.emit(answered)
            except (OSError, ValueError, HTTPException, HTTPError) as error:
                self.trouble = _told(error)
                if _status(error) in _REFUSALS:
                    self._refused += 1
                    self._done(letter)
                    continue
                if last:
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
                self._done(letter)

    def _next(self) -> Letter | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting[0] if self._waiting else None

    def _done(self, letter: Letter) -> None:
        with self._changed:
            # What has come meanwhile may have taken its place.
            if self._waiting[0] is letter:
                self._waiting.popleft()
        letter.sent()


def _status(error: Exception) -> int | None:
    """What the server has answered, if it has."""
    if not isinstance(error, requests.HTTPError) or error.response is None:
        return None
    return int(error.response.status_code)


def _told(error: Exception) -> str:
    """What went wrong, in words of ours: a server's may repeat what it was sent, a library's the key."""
    status = _status(error)
    if status is not None:
        return f"it answers {status} {_PHRASES.get(status, '')}".rstrip()
    if isinstance(error, requests.Timeout):
        return f"no answer in {_TIMEOUT:.0f} s"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__
