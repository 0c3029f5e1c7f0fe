"""Files and stores: how they are reached, and what goes wrong with them, told to the user in one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.config import conf

from jobs.secrecy import redacted
from jobs.stores import patience
from operators.errors import UserError
from operators.failures import Failure, failure, line, storage_errors

_DRIVERS = {"s3": "latentmill[s3]", "s3a": "latentmill[s3]", "gs": "latentmill[gcs]", "gcs": "latentmill[gcs]"}

_ATTEMPTS = 3
"""How often the S3 driver tries one request, such as one page of a listing that has thousands."""

_CONNECTING, _ANSWERING = 10.0, 60.0
"""Seconds without a word from a store after which a request has failed."""

_LINES = {
    Failure.THROTTLED: "the store is throttling, and was tried for {patience:.0f} seconds ({error}); start again later",
    Failure.AWAY: "the store fails, and was tried for {patience:.0f} seconds ({error}); start again when it is well",
    Failure.FULL: "there is no space left ({error}); make room, and start again",
    Failure.READ_ONLY: "nothing can be written here ({error}); choose another place, or make this one writable",
    Failure.DENIED: "access is denied ({error}); check the credentials and the rights",
    Failure.NO_BUCKET: "there is no such bucket, or no longer; check its name",
    Failure.NOTHING_THERE: "there is nothing here; check the path, or the bucket's name",
    Failure.NOT_A_FOLDER: "a part of this path is a file; name a folder",
    Failure.TAKEN: "somebody else changed this at the same time ({error}); start again",
    Failure.OTHER: "can't be read or written ({kind}: {error})",
}

# It logs each failure with a traceback, and Python shows that on standard error where nobody else asked for it.
logging.getLogger("gcsfs").addHandler(logging.NullHandler())


def opened(uri: str, **options: Any) -> tuple[Any, str]:
    """The file system of a URI, and the path in it."""
    filesystem, path = fsspec.core.url_to_fs(uri, **_tuned(fsspec.utils.get_protocol(uri)), **options)
    return filesystem, path


def _tuned(protocol: str) -> dict[str, Any]:
    """Options of a driver: trying again is mostly left to :mod:`jobs.stores.patience`, no answer is waited for long."""
    if protocol in ("s3", "s3a"):
        return {
            "config_kwargs": conf.get("s3", {}).get("config_kwargs", {})
            | {"retries": {"total_max_attempts": _ATTEMPTS}}
        }
    if protocol in ("gs", "gcs", "http", "https"):
        from aiohttp import ClientTimeout

        session = {"timeout": ClientTimeout(total=None, sock_connect=_CONNECTING, sock_read=_ANSWERING)}
        return {"session_kwargs" if protocol.startswith("g") else "client_kwargs": session}
    return {}


@contextmanager
def explained(where: str, kind: type[UserError]) -> Iterator[None]:
    """Turn what file systems and stores raise into an error of ``kind`` that says what to do.

    Args:
        where: URI or path that is used inside.
        kind: the error to raise instead: a source's or a sink's.
    """
    try:
        yield
    except ImportError as error:
        protocol = where.partition(":")[0]
        package = _DRIVERS.get(protocol, getattr(error, "name", None) or protocol)
        raise kind(f"{protocol}:// needs another package: pip install '{package}'", where) from error
    except storage_errors() as error:
        raise kind(_said(error), redacted(where)) from _harmless(error)
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise
        raise kind(f"{line(error)}; write a local path, or a URI such as s3://bucket/folder", where) from error


def _said(error: Exception) -> str:
    said = redacted(line(error))
    return _LINES[failure(error)].format(error=said, kind=type(error).__name__, patience=patience.PATIENCE)


def _harmless(error: Exception) -> Exception | None:
    """An error that may be shown with its traceback: nothing in it is secret."""
    return error if redacted(str(error)) == str(error) else None
