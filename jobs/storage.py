"""Objects in a folder or bucket: whole-object writes, writes that only the first of two wins, fresh listings."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from jobs.access import explained
from operators.errors import SinkError

_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Store:
    """The objects below one URI. Picklable: workers open it for themselves."""

    uri: str

    @classmethod
    def at(cls, uri: str) -> Store:
        """The store at a URI or path; a relative path starts here, wherever the store is opened later."""
        return cls(uri if "://" in uri or "::" in uri else str(Path(uri).expanduser().absolute()))

    @cached_property
    def _place(self) -> tuple[Any, str]:
        protocol = fsspec.utils.get_protocol(self.uri)
        if protocol not in fsspec.available_protocols():
            raise SinkError(
                f"{self.uri}: there is no store {protocol!r}; use a local path or a URI such as s3://bucket/x"
            )
        with self._explained():
            filesystem, root = fsspec.core.url_to_fs(self.uri, use_listings_cache=False)
        return filesystem, root.rstrip("/")

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return explained(self.uri, SinkError)

    def __getstate__(self) -> dict[str, str]:
        return {"uri": self.uri}

    def __setstate__(self, state: dict[str, str]) -> None:
        object.__setattr__(self, "uri", state["uri"])

    def put(self, name: str, data: bytes) -> None:
        """Write an object whole; readers see the old one or the new one, never a part."""
        filesystem, root = self._place
        path = f"{root}/{name}"
        with self._explained():
            if isinstance(filesystem, LocalFileSystem):
                part = _written_aside(root, path, data)
                part.replace(path)
            else:
                filesystem.pipe_file(path, data)

    def put_new(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one of that name; tells whether it was written."""
        filesystem, root = self._place
        path = f"{root}/{name}"
        with self._explained():
            if isinstance(filesystem, LocalFileSystem):
                return _linked(root, path, data)
            try:
                filesystem.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
        return True

    def copy(self, name: str, to: str) -> None:
        """Copy an object that never changes to another name; its bytes stay in the store."""
        filesystem, root = self._place
        with self._explained():
            if isinstance(filesystem, LocalFileSystem):
                Path(root, to).parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    os.link(f"{root}/{name}", f"{root}/{to}")
            else:
                filesystem.cp_file(f"{root}/{name}", f"{root}/{to}")

    def get(self, name: str) -> bytes | None:
        """An object's bytes, or None where there is none."""
        filesystem, root = self._place
        with self._explained():
            try:
                return bytes(filesystem.cat_file(f"{root}/{name}"))
            except FileNotFoundError:
                return None

    def open(self, name: str) -> io.RawIOBase:
        """Open an object to read it a piece at a time.

        Raises:
            FileNotFoundError: there is none.
        """
        filesystem, root = self._place
        with self._explained(), contextlib.suppress(FileNotFoundError):
            return _Reading(filesystem.open(f"{root}/{name}", "rb", cache_type="none"), self.uri)
        raise FileNotFoundError(f"{self.uri}/{name}")

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        filesystem, root = self._place
        with self._explained():
            return bool(filesystem.exists(f"{root}/{name}"))

    def names(self, folder: str) -> list[str]:
        """Names of the objects right below a folder, sorted; none where there is no such folder."""
        filesystem, root = self._place
        with self._explained():
            try:
                found = filesystem.ls(f"{root}/{folder}", detail=False)
            except FileNotFoundError:
                return []
        return sorted(name for name in (path.rsplit("/", 1)[-1] for path in found) if name and not name.startswith("."))

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; one that is gone already is no error."""
        filesystem, root = self._place
        with self._explained():
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    filesystem.rm_file(f"{root}/{name}")

    def discard_unfinished(self) -> None:
        """Remove what killed writers left half-written; an object store has no such thing."""
        filesystem, _ = self._place
        if isinstance(filesystem, LocalFileSystem):
            self.remove(f"{_UNFINISHED}/{name}" for name in self.names(_UNFINISHED))


class _Reading(io.RawIOBase):
    """An open object; what goes wrong with its store while it is read is told in one line too."""

    def __init__(self, file: Any, uri: str) -> None:
        self._file = file
        self._uri = uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with explained(self._uri, SinkError):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


def _linked(root: str, path: str, data: bytes) -> bool:
    part = _written_aside(root, path, data)
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True


def _written_aside(root: str, path: str, data: bytes) -> Path:
    aside = Path(root, _UNFINISHED)
    for folder in (aside, Path(path).parent):
        folder.mkdir(parents=True, exist_ok=True)
    part = aside / secrets.token_hex(8)
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return part
