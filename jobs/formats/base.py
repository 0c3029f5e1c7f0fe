"""What every format of a sink is: a part's rows as objects to put, and back again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from jobs.formats.snapshots import Snapshot
from jobs.sink.ledger import Epoch
from jobs.stores.store import Store

_WRITERS = 16


@dataclass(frozen=True)
class Packed:
    """A part's rows as they are stored."""

    objects: dict[str, bytes]
    """What to put, by names from the root of the sink; the order is of no matter."""
    noted: dict[str, str] = field(default_factory=dict)
    """What the part's outcomes object must say of them."""

    @property
    def figures(self) -> dict[str, int]:
        """How many objects, and how many bytes they have."""
        return {"files": len(self.objects), "bytes": sum(map(len, self.objects.values()))}


class DataFormat(ABC):
    """How accepted rows are stored.

    Whatever a part's rows become, each object or folder in :attr:`folder` is called ``STEM`` or ``STEM.SUFFIX`` after
    the part, so that a listing alone tells which part it belongs to. Nothing counts before the part's outcomes.
    """

    folder: str
    """Where the parts' objects lie in the sink."""

    replaces: bool = False
    """Whether rows can take the place of others, and be gone in between for no one."""

    def write(self, epoch: Epoch, stem: str, rows: pa.Table) -> Packed:
        """Put a part's accepted rows, of which there is at least one.

        Returns:
            What was put, and what the part's outcomes object must say of it, as its metadata.

        Raises:
            SinkError: the store fails.
        """
        packed, home = self.pack(stem, rows), self.home(epoch)
        with ThreadPoolExecutor(min(_WRITERS, len(packed.objects))) as pool:
            list(pool.map(home.put, packed.objects.keys(), packed.objects.values()))
        return packed

    def home(self, epoch: Epoch) -> Store:
        """Where an epoch's objects are put."""
        return epoch.store

    def settle(self, epoch: Epoch, schema: pa.Schema, before: int) -> list[Snapshot]:  # noqa: ARG002
        """Have readers see the rows of the parts that count, while no worker of the run is at work.

        Args:
            epoch: of the run.
            schema: of the dataset.
            before: what was put in this epoch or later, and doesn't count, is left alone.

        Returns:
            The snapshots that were made, if the format has such.

        Raises:
            SinkError: a later run has taken over the sink, or it can't be read or written.
        """
        return []

    @abstractmethod
    def pack(self, stem: str, rows: pa.Table) -> Packed:
        """A part's accepted rows, of which there is at least one, as what is put; the same rows are the same bytes."""

    @abstractmethod
    def batches(self, store: Store, name: str, needed: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Read what :meth:`pack` made and was put.

        Args:
            store: the sink.
            name: the object or folder in :attr:`folder`.
            needed: columns to read; all if None.

        Raises:
            FileNotFoundError: it is not there.
            pa.ArrowException: it is not as it was written.
            OSError: likewise.
            SinkError: the store fails.
        """

    def refuse(self, schema: pa.Schema) -> None:  # noqa: B027
        """See that the format can hold such columns.

        Raises:
            SpecError: it can't.
        """
