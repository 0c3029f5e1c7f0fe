"""Credentials in URIs: refused in a job, and left out of whatever is said about a URI."""

from __future__ import annotations

import re
from typing import Any

from operators.errors import SpecError

_USER = re.compile(r"(?<=://)(?:[^\s/@:'\"]*:[^\s/@'\"]*|(?<=https://)[^\s/@'\"]*|(?<=http://)[^\s/@'\"]*)@")
"""``user:password@``; on the web any name before the host is one, elsewhere it may be a container's."""

_QUERY = re.compile(r"(://[^\s?'\"]*\?)[^\s'\")]+")

_SECRET = re.compile(
    r"://.*[?&](?:x-(?:amz|goog)-(?:credential|security-token|signature)|awsaccesskeyid|googleaccessid|signature|sig"
    r"|(?:\w+_)?token|api_?key|password|secret)=",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """A text without what may be secret in the URIs that it holds: passwords, and all that follows a ``?``."""
    return _QUERY.sub(r"\1...", _USER.sub("...@", text))


def refuse_credentials(content: Any, where: str = "") -> None:
    """See that no text in a job's content is a URI with credentials.

    Args:
        content: mappings, lists and values, as JSON has them.
        where: the keys that lead to it, joined by dots.

    Raises:
        SpecError: one is.
    """
    if isinstance(content, str) and (_USER.search(content) or _SECRET.search(content)):
        raise SpecError(
            "there are credentials in this URI; leave them out and set them in the environment of driver and workers, "
            "as the store's own tools read them",
            where,
        )
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in entries:
        refuse_credentials(value, f"{where}.{key}" if where else str(key))
