"""Names of datasets, as OpenLineage's naming conventions have them: a namespace for the store, a name inside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

_SAME = {"s3a": "s3", "gcs": "gs", "local": "file"}
"""Other words for a store."""

_FILE = "file"
_BUILTIN = "builtin"
_IN_MEMORY = "inmemory://"


@dataclass(frozen=True)
class DatasetName:
    """Where a dataset is: what one job writes and another reads has the same name in both."""

    namespace: str
    name: str

    @classmethod
    def of(cls, uri: str) -> DatasetName:
        """The name of the dataset at a URI or absolute path; other text names rows that are in memory.

        Of a chain such as ``simplecache::s3://bucket/x`` it is the last link that names the store.
        """
        link = uri.rpartition("::")[2]
        scheme, separator, rest = link.partition(":")
        scheme = _SAME.get(scheme, scheme)
        if not separator:
            return cls(_FILE, _path(link)) if link.startswith("/") else cls(_IN_MEMORY, link)
        if scheme == _BUILTIN:
            return cls(_BUILTIN, rest)
        if scheme == _FILE:
            return cls(_FILE, _path(rest))
        store, _, path = rest.removeprefix("//").partition("?")[0].partition("/")
        return cls(f"{scheme}://{store}", path.strip("/") or "/")

    @property
    def uri(self) -> str:
        """The same as one URI, quoted."""
        if self.namespace == _FILE:
            return Path(self.name).as_uri()
        if self.namespace == _BUILTIN:
            return f"{_BUILTIN}:{self.name}"
        return f"{self.namespace.rstrip('/') if urlsplit(self.namespace).netloc else self.namespace}/" + quote(
            self.name.lstrip("/")
        )


def _path(text: str) -> str:
    return "/" + text.strip("/")
