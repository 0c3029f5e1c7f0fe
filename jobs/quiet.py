"""A terminal that shows only what Latentmill says."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import TextIO

from operators.errors import UserError

_STDOUT, _STDERR = 1, 2


@contextlib.contextmanager
def others_held_back(streams: Sequence[int] = (_STDOUT, _STDERR)) -> Iterator[TextIO]:
    """Keep what libraries print aside, and show it only if what runs inside fails by itself.

    Ray's native code writes to the file descriptor itself, past Python's ``sys.stderr`` and its logging, and warns of
    what is as it should be; what its nodes tell, such as that a worker died, it prints to standard output, where a
    program may be reading.

    Args:
        streams: the file descriptors.

    Yields:
        The real standard error.
    """
    _flush()
    with contextlib.ExitStack() as held:
        aside = held.enter_context(tempfile.TemporaryFile())
        real = held.enter_context(os.fdopen(os.dup(_STDERR), "w"))
        for stream in streams:
            held.enter_context(_redirected(stream, aside.fileno()))
        try:
            yield real
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException:
            real.flush()
            _flush()
            aside.seek(0)
            shutil.copyfileobj(aside, real.buffer)
            raise


@contextlib.contextmanager
def _redirected(stream: int, target: int) -> Iterator[None]:
    before = os.dup(stream)
    os.dup2(target, stream)
    try:
        yield
    finally:
        _flush()
        os.dup2(before, stream)
        os.close(before)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
