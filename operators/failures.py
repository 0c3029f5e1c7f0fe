"""What is the matter when a file system or store raises: what passes by itself, and what somebody must see to."""

from __future__ import annotations

import errno
import socket
import ssl
import sys
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

import pyarrow as pa


class Failure(Enum):
    """What is the matter."""

    THROTTLED = auto()
    AWAY = auto()
    FULL = auto()
    READ_ONLY = auto()
    DENIED = auto()
    NO_BUCKET = auto()
    NOTHING_THERE = auto()
    NOT_A_FOLDER = auto()
    TAKEN = auto()
    """There is an object where a new one was to be, or another one than the condition asked for."""
    OTHER = auto()

    @property
    def passes(self) -> bool:
        """Whether it may well be over in a while."""
        return self in (Failure.THROTTLED, Failure.AWAY)


_STATUS = {
    401: Failure.DENIED,
    403: Failure.DENIED,
    404: Failure.NOTHING_THERE,
    408: Failure.AWAY,
    412: Failure.TAKEN,
    429: Failure.THROTTLED,
    500: Failure.AWAY,
    502: Failure.AWAY,
    503: Failure.THROTTLED,
    504: Failure.AWAY,
    507: Failure.FULL,
}

_CODES = {
    "BadDigest": Failure.AWAY,
    "ConditionalRequestConflict": Failure.AWAY,
    "IncompleteBody": Failure.AWAY,
    "NoSuchBucket": Failure.NO_BUCKET,
    "OperationAborted": Failure.AWAY,
    "RequestTimeout": Failure.AWAY,
    "ServiceUnavailable": Failure.AWAY,
    "SlowDown": Failure.THROTTLED,
    "Throttling": Failure.THROTTLED,
    "ThrottlingException": Failure.THROTTLED,
    "XAmzContentSHA256Mismatch": Failure.AWAY,
    "XMinioStorageFull": Failure.FULL,
}
"""What stores that speak S3 say beside a status, where that tells more: a body that was cut off has a wrong digest."""

_ERRNO = {
    errno.EAGAIN: Failure.AWAY,
    errno.EDQUOT: Failure.FULL,
    errno.EFBIG: Failure.FULL,
    errno.EHOSTUNREACH: Failure.AWAY,
    errno.ENETDOWN: Failure.AWAY,
    errno.ENETUNREACH: Failure.AWAY,
    errno.ENOSPC: Failure.FULL,
    errno.EROFS: Failure.READ_ONLY,
    errno.ESTALE: Failure.AWAY,
    socket.EAI_AGAIN: Failure.AWAY,
}

_FOREIGN: dict[str, dict[str, Failure]] = {
    "aiohttp": {"ClientConnectionError": Failure.AWAY, "ClientPayloadError": Failure.AWAY},
    "botocore.exceptions": {
        "ConnectionError": Failure.AWAY,
        "CredentialRetrievalError": Failure.AWAY,
        "HTTPClientError": Failure.AWAY,
        "IncompleteReadError": Failure.AWAY,
        "NoCredentialsError": Failure.DENIED,
        "PartialCredentialsError": Failure.DENIED,
    },
    "botocore.parsers": {"ResponseParserError": Failure.AWAY},
    "google.auth.exceptions": {
        "DefaultCredentialsError": Failure.DENIED,
        "RefreshError": Failure.DENIED,
        "TransportError": Failure.AWAY,
    },
    "httpx": {"TransportError": Failure.AWAY},
    "requests": {"ConnectionError": Failure.AWAY, "Timeout": Failure.AWAY},
}
"""By module and class; looked up only where a driver has imported the module."""


_ROOTS = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)
"""What the drivers raise that is no OSError."""


def failure(error: BaseException) -> Failure:
    """What is the matter, as the errors tell that it was raised from, the first of them before all others."""
    if any(_is_lasting(link) for link in _linked(error, "__context__")):
        return Failure.OTHER
    links = list(_linked(error, "__cause__"))
    return next((found for link in reversed(links) if (found := _told(link))), Failure.OTHER)


def line(error: BaseException | None) -> str:
    """The first line of an error's message."""
    return (str(error).splitlines() or [""])[0]


def _linked(error: BaseException | None, link: str) -> Iterator[BaseException]:
    """An error, and those behind it; Python sets the context where a cause is given, too."""
    while error is not None:
        yield error
        error = getattr(error, link)


def _is_lasting(error: BaseException) -> bool:
    """Whether it looks like a connection that failed, but will fail for ever: a wrong name, a wrong certificate."""
    unknown = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
    return unknown or isinstance(error, ssl.SSLCertVerificationError)


def _told(error: BaseException) -> Failure | None:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return _CODES.get(response.get("Error", {}).get("Code")) or _STATUS.get(status)
    for holder in (error, response):
        for name in ("status", "code", "status_code"):
            if found := _by_status(getattr(holder, name, None)):
                return found
    if isinstance(error, OSError) and error.errno in _ERRNO:
        return _ERRNO[error.errno]
    # gcsfs has no class for it.
    if type(error) is OSError and str(error).startswith("Forbidden"):
        return Failure.DENIED
    return next((found for kind, found in _kinds() if isinstance(error, kind)), None)


def _by_status(status: Any) -> Failure | None:
    return _STATUS.get(int(status)) if str(status).isdecimal() else None


def _kinds() -> Iterator[tuple[type[BaseException], Failure]]:
    yield FileNotFoundError, Failure.NOTHING_THERE
    yield NotADirectoryError, Failure.NOT_A_FOLDER
    yield PermissionError, Failure.DENIED
    yield TimeoutError, Failure.AWAY
    yield ConnectionError, Failure.AWAY
    for module, kinds in _FOREIGN.items():
        if module in sys.modules:
            yield from ((getattr(sys.modules[module], name), found) for name, found in kinds.items())


def storage_errors() -> tuple[type[Exception], ...]:
    """What file systems raise, as far as their drivers have been imported."""
    foreign = (getattr(sys.modules[module], name) for module, name in _ROOTS if module in sys.modules)
    return OSError, pa.ArrowInvalid, *foreign
