"""Files that are open for reading in a store that may fail meanwhile."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from jobs.stores.patience import patiently


class PatientFile(io.RawIOBase):
    """An open file of fsspec's whose reads are tried again, each by itself from where it began.

    So whoever reads it, Parquet or tar, sees no byte twice and never knows. A file that was replaced in the meantime is
    refused by the store, as far as it can tell: S3 is asked for the version that was opened.
    """

    def __init__(self, file: Any, explained: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._file = file
        self._explained = explained

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Whether reading can go on elsewhere."""
        return bool(self._file.seekable())

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, or fewer only at the end of the file."""
        place = self._file.tell()

        def read() -> bytes:
            self._file.seek(place)
            return bytes(self._file.read(-1 if size is None else size))

        with self._explained():
            return patiently(read)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or less of it only at the end of the file."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """What is left."""
        return self.read()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on from elsewhere."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Where reading goes on."""
        return int(self._file.tell())

    def close(self) -> None:
        """Let go of it."""
        self._file.close()
        super().close()
