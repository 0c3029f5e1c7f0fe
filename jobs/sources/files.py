"""Files of a dataset, wherever fsspec reaches: named, opened, read; and what goes wrong, in one line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from jobs.formats.table import TABLE
from jobs.sink.ledger import DATA, NEXT, STATE, SWITCH
from jobs.stores import access
from jobs.stores.access import opened
from jobs.stores.listing import found, version
from jobs.stores.patience import patiently
from jobs.stores.reading import PatientFile
from operators.errors import SourceError
from operators.failures import Failure, failure, storage_errors

explained = partial(access.explained, kind=SourceError)
"""Turn what file systems raise into one line for the user: a :class:`SourceError`."""

_THREADS = 16
_BUCKETS = {"s3", "gs"}
_BLOCK = 1 << 23
"""Bytes of a file that are read ahead where it is streamed; drivers would take 50 MB."""

_AN_ADDRESS = 15.0
"""Seconds for which one address of the web is tried: its row alone hangs on it."""


@dataclass(frozen=True)
class Folder:
    """A folder of some file system."""

    filesystem: Any
    path: str

    @property
    def uri(self) -> str:
        """What another process finds it by."""
        return str(self.filesystem.unstrip_protocol(self.path))

    def resolve(self, reference: str) -> tuple[Any, str]:
        """The file system and path that a relative path, an absolute one or a URI means, seen from this folder."""
        if "://" in reference:
            return opened(reference)
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
    version: str = ""
    """What was another one if the file had been, when it was listed."""

    @property
    def folder(self) -> Folder:
        """The folder that it lies in."""
        return Folder(self.filesystem, self.path.rpartition("/")[0])

    def open(self, **options: Any) -> Any:
        """Open it for reading bytes.

        Raises:
            SourceError: it is another one than was listed, so what is known of it, such as its rows, no longer holds.
        """
        options = {"block_size": _BLOCK, **options}
        file = patiently(partial(self.filesystem.open, self.path, "rb", **options))
        # On the web, what is said of a file may depend on which of several machines says it.
        if self.version and not _is_web(self.filesystem):
            told = getattr(file, "details", None) or patiently(partial(self.filesystem.info, self.path))
            if version(told) != self.version:
                raise SourceError("it has changed since the job looked at it; start again", self.path)
        return PatientFile(file)

    def read(self) -> bytes:
        """All its bytes."""
        return bytes(patiently(partial(self.filesystem.cat_file, self.path)))


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
        filesystem, path = opened(uri)
        filesystem.invalidate_cache()
        full = uri if "::" in uri else str(filesystem.unstrip_protocol(path)).rstrip("/")
        root, infos = found(filesystem, path)
    names = {path[len(root) :].lstrip("/"): path for path in infos}
    if any(name.startswith(f"{STATE}/") for name in names):
        generation = f"{NEXT}/" if SWITCH in names else ""
        folders = f"{generation}{DATA}/", f"{TABLE}/"
        accepted = {name: path for name, path in names.items() if name.startswith(folders)}
        names = {name.removeprefix(generation): path for name, path in accepted.items()}
    shown = [name for name in sorted(names) if not _is_hidden(name)]
    files = [File(filesystem, names[name], name, version(infos[names[name]])) for name in shown]
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
                seconds = _AN_ADDRESS if _is_web(filesystem) else None
                return bytes(patiently(partial(filesystem.cat_file, path), seconds))
            except _missing(filesystem):
                return None

    with ThreadPoolExecutor(_THREADS) as pool:
        data = list(pool.map(read, references))
    if None in data:
        _refuse_a_lost_bucket(folder)
    return data


def _refuse_a_lost_bucket(folder: Folder) -> None:
    """Where the whole bucket is gone, it is not the row that is at fault."""
    if _BUCKETS.isdisjoint(folder.filesystem.protocol):
        return
    bucket = folder.path.partition("/")[0]
    try:
        patiently(partial(folder.filesystem.info, bucket))
    except storage_errors() as error:
        if failure(error) in (Failure.NO_BUCKET, Failure.NOTHING_THERE):
            raise SourceError("this bucket is gone; start again when it is back", bucket) from error


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)


def _is_web(filesystem: Any) -> bool:
    return "http" in filesystem.protocol


def _missing(filesystem: Any) -> tuple[type[Exception], ...]:
    """Errors that speak of one path and not of the whole store: on the web every address has a host of its own."""
    if isinstance(filesystem, LocalFileSystem):
        return OSError, ValueError
    if _is_web(filesystem):
        return *storage_errors(), ValueError, TimeoutError
    return FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError
