"""A model's folder behind a URI, copied to this machine once, whoever asks first; half a copy is never used."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from operators.errors import ModelError
from operators.failures import failure, line, storage_errors

_patience = Retrying(
    retry=retry_if_exception(lambda error: failure(error).passes),
    wait=wait_random_exponential(multiplier=0.25, max=20.0),
    stop=stop_after_attempt(3),
    reraise=True,
)
"""Beside that of the file system's own driver."""


def cache_folder() -> Path:
    """Where copies are kept: beside the hub's, in ``HF_HOME``."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "latentmill"


def staged(uri: str, cache: Path) -> Path:
    """The copy of a folder, or a folder with the copy of a file; what has changed since it was copied is another one.

    Processes of one machine wait for the one that copies. It copies beside the place where the copy will be, and moves
    it there in one step when all of it is there. What another one left that died meanwhile is removed.

    Args:
        uri: the folder or file, for fsspec.
        cache: where copies are kept.

    Raises:
        ModelError: there is no such folder, it can't be read, it changes while it is copied, or there is no room.
    """
    import filelock
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(uri)
        found = {name: files.ukey(name) for name in sorted(files.find(root))}
    except (ValueError, ImportError) as error:
        raise ModelError(f"model {uri!r} can't be read: {line(error)}") from None
    except storage_errors() as error:
        raise ModelError(f"model {uri!r} can't be read: {line(error)}") from None
    if not found:
        raise ModelError(f"there is no model {uri!r}: the folder is empty or not there")
    version = hashlib.sha256(repr([uri, *found.values()]).encode()).hexdigest()[:32]
    target, top = cache / version, root.rpartition("/")[0] if list(found) == [root] else root
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / f"{version}.lock"):
            if not target.exists():
                for dead in cache.glob(f"{version}.half.*"):
                    shutil.rmtree(dead)
                _copy(files, top, list(found), target)
    except storage_errors() as error:
        raise ModelError(f"model {uri!r} can't be copied to {cache}: {line(error)}") from None
    return target


def _copy(files: Any, root: str, names: list[str], target: Path) -> None:
    half = Path(tempfile.mkdtemp(prefix=f"{target.name}.half.", dir=target.parent))
    try:
        for name in names:
            _copy_file(files, name, half / name.removeprefix(root).lstrip("/"))
        half.replace(target)
    except storage_errors():
        shutil.rmtree(half, ignore_errors=True)
        raise


def _copy_file(files: Any, name: str, here: Path) -> None:
    here.parent.mkdir(parents=True, exist_ok=True)
    _patience.copy()(files.get_file, name, str(here))
    copied, wanted = here.stat().st_size, files.size(name)
    if copied != wanted:
        raise OSError(f"{name} ended after {copied:,} of {wanted:,} bytes")
