"""What goes wrong with files and stores, told to the user in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from operators.errors import UserError

_DRIVERS = {"s3": "latentmill[s3]", "s3a": "latentmill[s3]", "gs": "latentmill[gcs]", "gcs": "latentmill[gcs]"}
_FOREIGN_ERRORS = {
    "botocore.exceptions": "BotoCoreError",
    "aiohttp": "ClientError",
    "gcsfs.retry": "HttpError",
    "google.auth.exceptions": "GoogleAuthError",
}
"""What the drivers raise that is no OSError; looked up only where the driver has been imported."""


@contextmanager
def explained(where: str, kind: type[UserError]) -> Iterator[None]:
    """Turn what file systems and stores raise into an error of ``kind`` that says what to do.

    Args:
        where: URI or path that is used inside.
        kind: the error to raise instead: a source's or a sink's.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise kind("there is nothing here; check the path, or the bucket's name", where) from error
    except NotADirectoryError as error:
        raise kind("a part of this path is a file; name a folder", where) from error
    except PermissionError as error:
        raise kind(f"access is denied ({line(error)}); check the credentials and the rights", where) from error
    except ImportError as error:
        protocol = where.partition(":")[0]
        package = _DRIVERS.get(protocol, getattr(error, "name", None) or protocol)
        raise kind(f"{protocol}:// needs another package: pip install '{package}'", where) from error
    except storage_errors() as error:
        raise kind(f"can't be read or written ({type(error).__name__}: {line(error)})", where) from error
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise
        raise kind(f"{line(error)}; write a local path, or a URI such as s3://bucket/folder", where) from error


def storage_errors() -> tuple[type[Exception], ...]:
    """What file systems raise, as far as their drivers have been imported."""
    foreign = [getattr(sys.modules[name], error) for name, error in _FOREIGN_ERRORS.items() if name in sys.modules]
    return OSError, pa.ArrowInvalid, *foreign


def line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).splitlines() or [""])[0]
