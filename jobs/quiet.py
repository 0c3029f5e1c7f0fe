"""A terminal that shows only what Latentmill says."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

from operators.errors import UserError


@contextlib.contextmanager
def others_held_back() -> Iterator[TextIO]:
    """Keep what libraries write to standard error aside, and show it only if what runs inside fails by itself.

    Ray's native code writes to the file descriptor itself, past Python's ``sys.stderr`` and its logging, and warns of
    what is as it should be.

    Yields:
        The real standard error.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside, os.fdopen(os.dup(2), "w") as real:
        os.dup2(aside.fileno(), 2)
        try:
            yield real
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException:
            real.flush()
            aside.seek(0)
            shutil.copyfileobj(aside, real.buffer)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(real.fileno(), 2)
