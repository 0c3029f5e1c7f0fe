"""What lies at a path, or matches a glob: all of it, or an error, never a part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.utils import glob_translate

from jobs.stores.patience import patiently

Found = dict[str, dict[str, Any]]
"""What a file system tells of files, by path."""

_GLOB = re.compile(r"[*?[]")
_MARKS = ("generation", "ETag", "etag", "mtime", "LastModified", "created")


def found(filesystem: Any, path: str) -> tuple[str, Found]:
    """A file, all files below a folder, or those that match a glob; and the folder that their names start in.

    Raises:
        FileNotFoundError: there is neither a file nor a folder, and the path is no glob.
    """
    mark = _GLOB.search(path)
    try:
        info = patiently(partial(filesystem.info, path))
    except FileNotFoundError:
        if mark is None:
            raise
        root = path[: mark.start()].rpartition("/")[0]
        depth = None if "**" in path else path.count("/", len(root) + 1) + 1
        matches = re.compile(glob_translate(path)).match
        return root, {name: told for name, told in below(filesystem, root, depth).items() if matches(name)}
    if info["type"] == "file":
        return path.rpartition("/")[0], {path: info}
    return path.rstrip("/"), below(filesystem, path.rstrip("/"))


def below(filesystem: Any, folder: str, depth: int | None = None) -> Found:
    """All files below a folder, or so many folders deep.

    Raises:
        FileNotFoundError: there is no such folder, where the file system has folders.
    """
    if depth is None and _lists_flat(filesystem):
        files = patiently(partial(filesystem.find, folder, detail=True))
    else:
        files = {info["name"]: info for info in _walked(filesystem, folder, depth)}
    # An object called as a folder is, which some tools make, is no file.
    return {name: info for name, info in files.items() if not name.endswith("/") and name != folder}


def version(info: dict[str, Any]) -> str:
    """What changes when a file does: its size, and the mark or the time of change that its store tells."""
    return f"{info['size']} {next((info[mark] for mark in _MARKS if info.get(mark)), '')}"


def _lists_flat(filesystem: Any) -> bool:
    """Whether there is a listing of all below a folder; fsspec's own way skips a subfolder that can't be listed."""
    own = type(filesystem)
    walks = getattr(own, "_find", AsyncFileSystem._find) is AsyncFileSystem._find
    return not walks or own.find is not AbstractFileSystem.find


def _walked(filesystem: Any, folder: str, depth: int | None) -> Iterator[dict[str, Any]]:
    for info in patiently(partial(filesystem.ls, folder, detail=True)):
        if info["type"] != "directory":
            yield info
        elif depth != 1 and info["name"].rstrip("/") != folder:
            yield from _walked(filesystem, info["name"].rstrip("/"), depth and depth - 1)
