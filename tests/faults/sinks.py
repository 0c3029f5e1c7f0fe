"""What a job left in its sink, and what a reader sees who knows nothing of Latentmill, meanwhile."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from PIL import Image

DATA, REJECTS, OUTCOMES = "data", "rejects", "_latentmill/outcomes"


@dataclass
class Found:
    """All that is in a sink, read object by object."""

    pictures: list[tuple[str, str]]
    """Every row's id and a hash of the pixels of its edited picture."""
    outcomes: list[tuple[str, str, int, int]]
    """Every source row's id, outcome, outputs and rejects."""
    objects: dict[str, set[str]]
    """Names by folder."""

    @property
    def orphans(self) -> set[str]:
        """Objects that no outcome stands for."""
        committed = {_stem(name) for name in self.objects[OUTCOMES]}
        return {
            f"{folder}/{name}"
            for folder in (DATA, REJECTS)
            for name in self.objects[folder]
            if _stem(name) not in committed
        }


@dataclass
class Difference:
    """How a sink differs from that of an undisturbed run."""

    lost: int
    doubled: int
    altered: int
    orphans: int

    @classmethod
    def between(cls, found: Found, calm: Found) -> Difference:
        """Count rows and outcomes that are missing, there more than once, or of other pixels."""
        lost = doubled = altered = 0
        for here, there in ((found.pictures, calm.pictures), (found.outcomes, calm.outcomes)):
            ids, wanted = Counter(item[0] for item in here), Counter(item[0] for item in there)
            lost += sum((wanted - ids).values())
            doubled += sum((ids - wanted).values())
            altered += len({item for item in here if item[0] in wanted} - set(there))
        return cls(lost, doubled, altered, len(found.orphans))


def found(files: Any, sink: str) -> Found:
    """Read a sink.

    Args:
        files: the fsspec file system that it is on.
        sink: its path.
    """
    names = {folder: _names(files, f"{sink}/{folder}") for folder in (DATA, REJECTS, OUTCOMES)}
    pictures, outcomes = [], []
    for name in sorted(names[DATA]):
        table = _table(files, f"{sink}/{DATA}/{name}")
        hashes = [_pixels(picture["bytes"]) for picture in table["edited_image"].to_pylist()]
        pictures += list(zip(table["row_id"].to_pylist(), hashes, strict=True))
    for name in sorted(names[OUTCOMES]):
        table = _table(files, f"{sink}/{OUTCOMES}/{name}")
        outcomes += [
            tuple(row.values()) for row in table.select(["source_id", "outcome", "outputs", "rejects"]).to_pylist()
        ]
    return Found(pictures, outcomes, names)


def _names(files: Any, folder: str) -> set[str]:
    try:
        return {path.rsplit("/", 1)[-1] for path in files.ls(folder, detail=False)}
    except FileNotFoundError:
        return set()


def _table(files: Any, path: str) -> pa.Table:
    return pq.ParquetFile(pa.BufferReader(files.cat_file(path))).read()


def _pixels(data: bytes) -> str:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()


def _stem(name: str) -> str:
    return name.partition(".")[0]


@dataclass
class Reader:
    """Reads ``data/`` of a sink again and again, as anyone would."""

    files: pafs.FileSystem
    sink: str
    looks: int = 0
    """How often it read all of it."""
    vanished: int = 0
    """How often a file went away between the listing and the reading, or there was nothing to read."""
    doubled: list[dict[str, list[str]]] = field(default_factory=list)
    """Rows that it saw more than once in one reading, and the files that they were in."""
    missed: list[list[str]] = field(default_factory=list)
    """Source rows that were finished before it looked, and of which it did not see all."""

    def look(self) -> None:
        """Read once."""
        try:
            finished = self._finished()
            seen = pads.dataset(f"{self.sink}/{DATA}", filesystem=self.files).to_table(
                ["row_id", "source_id", "__filename"]
            )
        except (OSError, pa.ArrowInvalid):
            self.vanished += 1
            return
        self.looks += 1
        places: dict[str, list[str]] = {}
        for row, file in zip(seen["row_id"].to_pylist(), seen["__filename"].to_pylist(), strict=True):
            places.setdefault(row, []).append(file)
        doubled = {row: files for row, files in places.items() if len(files) > 1}
        if doubled:
            self.doubled.append(doubled)
        rows = Counter(seen["source_id"].to_pylist())
        missed = [source for source, outputs in finished.items() if rows[source] < outputs]
        if missed:
            self.missed.append(missed)

    def _finished(self) -> dict[str, int]:
        """Outputs by source row."""
        folder = pafs.FileSelector(f"{self.sink}/{OUTCOMES}", allow_not_found=True)
        paths = [info.path for info in self.files.get_file_info(folder) if info.type == pafs.FileType.File]
        if not paths:
            return {}
        table = pads.dataset(paths, filesystem=self.files).to_table(["source_id", "outputs"])
        return dict(zip(table["source_id"].to_pylist(), table["outputs"].to_pylist(), strict=True))


@contextmanager
def looking(reader: Reader, seconds: float = 0.2) -> Iterator[Reader]:
    """Let a reader look at intervals while the block lasts, and once at its end."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(seconds):
            reader.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield reader
    finally:
        stop.set()
        thread.join()
    reader.look()
