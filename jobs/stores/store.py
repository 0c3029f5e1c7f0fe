"""Objects in a folder or bucket: whole-object writes, writes that only the first of two wins, fresh listings."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from jobs.stores.access import explained, opened
from jobs.stores.listing import below
from jobs.stores.patience import patiently
from jobs.stores.reading import PatientFile
from operators.errors import SinkError
from operators.failures import Failure, failure, storage_errors

_UNFINISHED = ".unfinished"
_ONE_AT_A_TIME = Lock()


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
            filesystem, root = opened(self.uri, use_listings_cache=False)
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
        write = partial(_replaced, root) if isinstance(filesystem, LocalFileSystem) else filesystem.pipe_file
        with self._explained():
            patiently(partial(write, f"{root}/{name}", data))

    def put_new(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one of that name; tells whether it was written.

        Args:
            name: the object's name.
            data: what no other writer would write: by it, a writer whose answer was lost knows that it was the first.
        """
        filesystem, root = self._place
        write = partial(_linked, root) if isinstance(filesystem, LocalFileSystem) else partial(_created, filesystem)
        with self._explained():
            try:
                patiently(partial(write, f"{root}/{name}", data))
            except storage_errors() as error:
                if not isinstance(error, FileExistsError) and failure(error) is not Failure.TAKEN:
                    raise
                return self.get(name) == data
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
                patiently(partial(filesystem.cp_file, f"{root}/{name}", f"{root}/{to}"))

    def get(self, name: str) -> bytes | None:
        """An object's bytes, or None where there is none."""
        filesystem, root = self._place
        with self._explained():
            try:
                return bytes(patiently(partial(filesystem.cat_file, f"{root}/{name}")))
            except FileNotFoundError:
                return None

    def open(self, name: str) -> io.RawIOBase:
        """Open an object to read it a piece at a time.

        Raises:
            FileNotFoundError: there is none.
        """
        filesystem, root = self._place
        with self._explained(), contextlib.suppress(FileNotFoundError):
            file = patiently(partial(filesystem.open, f"{root}/{name}", "rb", cache_type="none"))
            return PatientFile(file, self._explained)
        raise FileNotFoundError(f"{self.uri}/{name}")

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        filesystem, root = self._place
        with self._explained():
            try:
                # Some file systems' exists() takes whatever goes wrong for no.
                patiently(partial(filesystem.info, f"{root}/{name}"))
            except FileNotFoundError:
                return False
        return True

    def names(self, folder: str) -> list[str]:
        """Names of the objects right below a folder, sorted; none where there is no such folder."""
        filesystem, root = self._place
        with self._explained():
            try:
                found = patiently(partial(filesystem.ls, f"{root}/{folder}", detail=False))
            except FileNotFoundError:
                return []
        return sorted(name for name in (path.rsplit("/", 1)[-1] for path in found) if name and not name.startswith("."))

    def below(self, folder: str) -> list[str]:
        """Names, from the store's root, of all objects below a folder, sorted; none where there is no such folder."""
        filesystem, root = self._place
        with self._explained():
            try:
                found = below(filesystem, f"{root}/{folder}")
            except FileNotFoundError:
                return []
        return sorted(path.lstrip("/")[len(root.lstrip("/")) + 1 :] for path in found)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; one that is gone already is no error."""
        filesystem, root = self._place
        with self._explained():
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    patiently(partial(filesystem.rm_file, f"{root}/{name}"))

    def remove_folders(self, names: Iterable[str]) -> None:
        """Remove folders with all below them; one that is gone already is no error."""
        filesystem, root = self._place
        with self._explained():
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    patiently(partial(filesystem.rm, f"{root}/{name}", recursive=True))

    def discard_unfinished(self) -> None:
        """Remove what killed writers left half-written; an object store has no such thing."""
        filesystem, _ = self._place
        if isinstance(filesystem, LocalFileSystem):
            self.remove(f"{_UNFINISHED}/{name}" for name in self.names(_UNFINISHED))


def _created(filesystem: Any, path: str, data: bytes) -> None:
    # What is no store with conditional writes, such as memory, looks first and then writes.
    with contextlib.nullcontext() if filesystem.async_impl else _ONE_AT_A_TIME:
        filesystem.pipe_file(path, data, mode="create")


def _replaced(root: str, path: str, data: bytes) -> None:
    with _written_aside(root, path, data) as part:
        part.replace(path)


def _linked(root: str, path: str, data: bytes) -> None:
    with _written_aside(root, path, data) as part:
        os.link(part, path)


@contextlib.contextmanager
def _written_aside(root: str, path: str, data: bytes) -> Iterator[Path]:
    """A file with the data on the path's own disk, for as long as the block lasts."""
    aside = Path(root, _UNFINISHED)
    for folder in (aside, Path(path).parent):
        folder.mkdir(parents=True, exist_ok=True)
    part = aside / secrets.token_hex(8)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)
