"""WebDataset: tar shards in which files of one name and different endings make a row."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Literal

import pyarrow as pa

from jobs.formats.samples import SCHEMA, Layout
from jobs.formats.shards import Member, members, split
from jobs.sources.base import Located, Scan, Source, Stretch
from jobs.sources.files import File, Listing, explained
from jobs.sources.spec import SourceSpec
from operators import columns
from operators.errors import SourceError

SUFFIXES = (".tar", ".tar.gz", ".tgz")
IMAGE = "image"

_IMAGES = frozenset({"avif", "bmp", "gif", "jp2", "jpeg", "jpg", "png", "ppm", "tif", "tiff", "webp"})
_TEXTS = frozenset({"caption", "cls", "json", "text", "txt"})
_SAMPLES_LOOKED_AT = 16

Sample = dict[str, Any]


@dataclass(frozen=True)
class Shard(Stretch):
    """One tar file."""

    file: File
    schema: pa.Schema
    layout: Layout | None
    """What the files of a sample are, where the dataset says it."""
    rows: None = None

    @property
    def file_name(self) -> str:
        """The file's name."""
        return self.file.name

    def version(self) -> str:
        """The file's."""
        return self.file.version

    def listed(self) -> pa.Array:
        """By the keys, from the headers alone."""
        with _opened(self.file, "r:*") as found:
            return pa.array([f"{self.file.name}#{key}" for key, _ in _grouped(found)], pa.string())

    def count(self, most: int) -> int:
        """Count the samples from the headers alone."""
        with _opened(self.file, "r:*") as found:
            return sum(1 for _ in islice(_grouped(found), most))

    def tables(self, part_rows: int, needed: list[str] | None) -> Iterator[Located]:  # noqa: ARG002
        """Stream the shard from its first byte to its last."""
        samples = _samples(self.file, self.layout)
        while batch := list(islice(samples, part_rows)):
            keys = pa.array([f"{self.file.name}#{key}" for key, _ in batch], pa.string())
            yield keys, pa.Table.from_pylist([sample for _, sample in batch], self.schema)


class WebDatasetSource(Source):
    """Tar shards; rows are called ``00007.tar#key``.

    The picture (``key.jpg``, ``key.png``, ...) is the column ``image``; every other file is a column named by its
    ending, as in ``txt``, ``json`` (both text) or ``mask.png`` (a picture). The first samples of the first shard tell
    which columns there are; endings that turn up later are left out, and what a sample lacks is null. Shards that
    Latentmill wrote tell their columns themselves.
    """

    def __init__(self, listing: Listing, spec: SourceSpec) -> None:
        super().__init__(spec)
        self.listing = listing

    def scan(self, part_rows: int) -> Scan:  # noqa: ARG002
        """List the shards and look into the first."""
        files = self.listing.files if len(self.listing.files) == 1 else self.listing.ending(*SUFFIXES)
        layout = _layout(files[0])
        schema = layout.schema if layout else _guessed(files[0])
        return Scan(self.listing.uri, schema, [Shard(file, schema, layout) for file in files])


def _layout(file: File) -> Layout | None:
    with _opened(file, "r|*") as found:
        first = next(found, None)
        return Layout.parse(first.read()) if first and first.name == SCHEMA else None


def _guessed(file: File) -> pa.Schema:
    first = [sample for _, sample in islice(_samples(file, None), _SAMPLES_LOOKED_AT)]
    if not first:
        raise SourceError("the shard is empty", file.path)
    names = sorted({name for sample in first for name in sample}, key=lambda name: (name != IMAGE, name))
    return pa.schema([(name, _kind(name)) for name in names])


def _samples(file: File, layout: Layout | None) -> Iterator[tuple[str, Sample]]:
    with _opened(file, "r|*") as found:
        for key, group in _grouped(found):
            if layout:
                yield key, layout.row(key, {split(member.name)[1]: member.read() for member in group})
            else:
                yield key, _sample(key, group, file)


def _sample(key: str, group: Iterator[Member], file: File) -> Sample:
    sample: Sample = {}
    for member in group:
        ending = split(member.name)[1]
        name = IMAGE if ending in _IMAGES else ending
        if name in sample:
            advice = "give one a name of its own, as in key.mask.png"
            raise SourceError(f"sample {key!r} has two files for the column {name!r}; {advice}", file.path)
        sample[name] = _value(name, member)
    return sample


def _grouped(found: Iterator[Member]) -> Iterator[tuple[str, Iterator[Member]]]:
    return groupby((member for member in found if not member.about), lambda member: split(member.name)[0])


@contextmanager
def _opened(file: File, mode: Literal["r:*", "r|*"]) -> Iterator[Iterator[Member]]:
    with explained(file.path):
        try:
            with file.open() as stream:
                yield members(stream, mode)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise SourceError(f"it is no whole tar file ({error})", file.path) from error


def _kind(name: str) -> pa.DataType:
    last = name.rpartition(".")[2]
    if name == IMAGE or last in _IMAGES:
        return columns.IMAGE
    return columns.TEXT if last in _TEXTS else pa.binary()


def _value(name: str, member: Member) -> Any:
    data, kind = member.read(), _kind(name)
    if columns.is_image(kind):
        return {"bytes": data, "path": member.name}
    return data.decode(errors="replace") if kind == columns.TEXT else data
