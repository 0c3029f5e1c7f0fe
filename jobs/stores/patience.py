"""What is done when a store fails for a reason that passes: it is tried again, for a while."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

from jobs.secrecy import redacted
from operators.failures import failure, line

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds for which an operation is tried again."""

_FIRST_WAIT, _LONGEST_WAIT = 0.25, 20.0
_SILENT = 10.0
"""Seconds after which somebody may wonder why nothing happens."""

_log = logging.getLogger("latentmill")


def patiently(operation: Callable[[], T], seconds: float | None = None) -> T:
    """Do something, and again while it fails for what passes by itself, after waits that grow and are random.

    Args:
        operation: what may be done twice: it reads, or writes one whole object.
        seconds: how long it is tried; by default :data:`PATIENCE`.

    Raises:
        Exception: what the operation raised the last time.
    """
    trying = Retrying(
        retry=retry_if_exception(lambda error: failure(error).passes),
        wait=wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT),
        stop=stop_before_delay(PATIENCE if seconds is None else seconds),
        before_sleep=_say,
        reraise=True,
    )
    return trying(operation)


def _say(state: RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    if error and (state.seconds_since_start or 0) > _SILENT:
        _log.warning("a store fails and is tried again: %s: %s", type(error).__name__, redacted(line(error)))
