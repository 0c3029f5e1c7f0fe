"""Where the Lance table of a sink lies, and how it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.stores.store import Store
from operators.errors import SinkError

if TYPE_CHECKING:
    from lance import LanceDataset

TABLE = "data.lance"
"""The table's folder in the sink."""

FILES = f"{TABLE}/data"
"""Where its data files lie."""

FRAGMENT = "latentmill.fragment"
"""Metadata of a part's outcomes: the fragment that its data file is, as Lance writes it in JSON."""

REPLACED = "latentmill.replaced"
"""Metadata of a part's outcomes: ids of source rows (JSON) whose earlier outputs are to go."""

_PROTOCOLS = {"": "", "file": "file", "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}


def located(uri: str) -> str:
    """How Lance writes the URI of a table.

    Raises:
        SinkError: it can't reach such a store.
    """
    protocol, separator, path = uri.rpartition("://")
    if protocol not in _PROTOCOLS:
        raise SinkError(f"Lance can't reach {protocol}://; it can reach folders, s3:// and gs://", uri)
    return f"{_PROTOCOLS[protocol]}{separator}{path}"


def location(sink: Store) -> str:
    """Where Lance finds the table of a sink.

    Raises:
        SinkError: it can't reach the sink.
    """
    return located(f"{sink.uri.rstrip('/')}/{TABLE}")


def options_for(place: str) -> dict[str, str] | None:
    """What Lance must be told of a store; all else it reads in the environment, as the store's own tools do."""
    # An endpoint without encryption is refused unless it is allowed; if there is one, the environment names it.
    return {"allow_http": "true"} if place.startswith("s3://") else None


def table(sink: Store, version: int | None = None) -> LanceDataset | None:
    """The table, or one of its versions; None where there is no table.

    Raises:
        SinkError: Lance can't reach the sink.
        OSError: the store fails.
        ValueError: there is no such version.
    """
    import lance

    place = location(sink)
    if not sink.names(f"{TABLE}/_versions"):
        return None
    return lance.dataset(place, version=version, storage_options=options_for(place))
