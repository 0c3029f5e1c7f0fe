"""Files of a dataset, wherever fsspec reaches: found, listed, named, read; and what goes wrong, in one line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from jobs import access
from jobs.access import storage_errors
from jobs.ledger import DATA, NEXT, STATE, SWITCH
from operators.errors import SourceError

explained = partial(access.explained, kind=SourceError)
"""Turn what file systems raise into one line for the user: a :class:`SourceError`."""

_THREADS = 16
_MARKS = ("ETag", "etag", "mtime", "created")


@dataclass(frozen=True)
class Folder:
    """A folder of some file system."""

    filesystem: Any
    path: str

    def resolve(self, reference: str) -> tuple[Any, str]:
        """The file system and path that a relative path, an absolute one or a URI means, seen from this folder."""
        if "://" in reference:
            filesystem, path = url_to_fs(reference)
            return filesystem, path
        if reference.startswith("/"):
            return LocalFileSystem(), reference
        return self.filesystem, f"{self.path}/{reference}"


@dataclass(frozen=True)
class File:
    """One file of a dataset."""

    filesystem: Any
    path: str
    name: str
    """Its path inside the dataset, which ids start with."""

    @property
    def folder(self) -> Folder:
        """The folder that it lies in."""
        return Folder(self.filesystem, self.path.rpartition("/")[0])

    def open(self, **options: Any) -> Any:
        """Open it for reading bytes."""
        return self.filesystem.open(self.path, "rb", **options)

    def version(self) -> str:
        """What changes when the file does: its size, and what mark or time of change its store tells.

        Raises:
            SourceError: it is gone, or its store fails.
        """
        with explained(self.path):
            info = self.filesystem.info(self.path)
        return f"{info['size']} {next((info[mark] for mark in _MARKS if mark in info), '')}"

    def read(self) -> bytes:
        """All its bytes."""
        return bytes(self.filesystem.cat_file(self.path))


@dataclass(frozen=True)
class Listing:
    """The files that a URI stands for, sorted by name; those hidden by a ``.`` or ``_`` are left out."""

    uri: str
    root: Folder
    files: list[File]

    def ending(self, *suffixes: str) -> list[File]:
        """The files whose names end so.

        Raises:
            SourceError: none does.
        """
        found = [file for file in self.files if file.name.lower().endswith(suffixes)]
        if not found:
            raise SourceError(f"there are no files ending in {' or '.join(suffixes)} here", self.uri)
        return found


def list_files(uri: str) -> Listing:
    """List a file, a folder with all below it, or a glob.

    A dataset that Latentmill wrote stands for its accepted rows, in ``data/``; while an overwriting run puts new ones
    there, for these.

    Raises:
        SourceError: there is nothing, or no way to see it.
    """
    with explained(uri):
        filesystem, path = url_to_fs(uri)
        filesystem.invalidate_cache()
        full = uri if "::" in uri else str(filesystem.unstrip_protocol(path))
        if _is_glob(filesystem, path):
            root = path[: min(path.index(mark) for mark in "*?[" if mark in path)].rpartition("/")[0]
            paths = [found for found in filesystem.glob(path) if filesystem.isfile(found)]
        elif filesystem.isfile(path):
            root, paths = path.rpartition("/")[0], [path]
        else:
            filesystem.info(path)
            root, paths = path.rstrip("/"), filesystem.find(path)
    names = {found[len(root) :].lstrip("/"): found for found in paths}
    if any(name.startswith(f"{STATE}/") for name in names):
        generation = f"{NEXT}/" if SWITCH in names else ""
        accepted = {name: found for name, found in names.items() if name.startswith(f"{generation}{DATA}/")}
        names = {name.removeprefix(generation): found for name, found in accepted.items()}
    files = [File(filesystem, names[name], name) for name in sorted(names) if not _is_hidden(name)]
    if not files:
        raise SourceError("there are no files here; check the path", full)
    return Listing(full, Folder(filesystem, root), files)


def read_all(folder: Folder, references: list[str]) -> list[bytes | None]:
    """The bytes that paths and URIs lead to, in order; None where one leads nowhere.

    Raises:
        SourceError: a store can't be used, whatever the path.
    """

    def read(reference: str) -> bytes | None:
        filesystem = folder.filesystem
        with explained(reference):
            try:
                filesystem, path = folder.resolve(reference)
                return bytes(filesystem.cat_file(path))
            except _missing(filesystem):
                return None

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read, references))


def _is_glob(filesystem: Any, path: str) -> bool:
    return any(mark in path for mark in "*?[") and not filesystem.exists(path)


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)


def _missing(filesystem: Any) -> tuple[type[Exception], ...]:
    """Errors that speak of one path and not of the whole store: on the web every address has a host of its own."""
    if isinstance(filesystem, LocalFileSystem):
        return OSError, ValueError
    if "http" in filesystem.protocol:
        return *storage_errors(), ValueError, TimeoutError
    return FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError
