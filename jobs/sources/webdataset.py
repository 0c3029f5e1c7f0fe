"""WebDataset: tar shards in which files of one name and different endings make a row."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Literal, Self

import pyarrow as pa

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
_END = bytes(tarfile.BLOCKSIZE)

Sample = dict[str, Any]


@dataclass(frozen=True)
class Shard(Stretch):
    """One tar file."""

    file: File
    schema: pa.Schema
    rows: None = None

    def count(self, most: int) -> int:
        """Count the samples from the headers alone."""
        with explained(self.file.path), _members(self.file, "r:*") as members:
            return sum(1 for _ in islice(groupby(members, lambda member: _split(member.name)[0]), most))

    def tables(self, part_rows: int, needed: list[str] | None) -> Iterator[Located]:  # noqa: ARG002
        """Stream the shard from its first byte to its last."""
        samples = _samples(self.file)
        while batch := list(islice(samples, part_rows)):
            keys = pa.array([f"{self.file.name}#{key}" for key, _ in batch], pa.string())
            yield keys, pa.Table.from_pylist([sample for _, sample in batch], self.schema)


class WebDatasetSource(Source):
    """Tar shards; rows are called ``00007.tar#key``.

    The picture (``key.jpg``, ``key.png``, ...) is the column ``image``; every other file is a column named by its
    ending, as in ``txt``, ``json`` (both text) or ``mask.png`` (a picture). The first samples of the first shard tell
    which columns there are; endings that turn up later are left out, and what a sample lacks is null.
    """

    def __init__(self, listing: Listing, spec: SourceSpec) -> None:
        super().__init__(spec)
        self.listing = listing

    def scan(self, part_rows: int) -> Scan:  # noqa: ARG002
        """List the shards and look into the first."""
        files = self.listing.files if len(self.listing.files) == 1 else self.listing.ending(*SUFFIXES)
        first = [sample for _, sample in islice(_samples(files[0]), _SAMPLES_LOOKED_AT)]
        if not first:
            raise SourceError("the shard is empty", files[0].path)
        names = sorted({name for sample in first for name in sample}, key=lambda name: (name != IMAGE, name))
        schema = pa.schema([(name, _kind(name)) for name in names])
        return Scan(self.listing.uri, schema, [Shard(file, schema) for file in files])


def _samples(file: File) -> Iterator[tuple[str, Sample]]:
    with explained(file.path), _members(file, "r|*") as members:
        for key, group in groupby(members, lambda member: _split(member.name)[0]):
            sample: Sample = {}
            for member in group:
                ending = _split(member.name)[1]
                name = IMAGE if ending in _IMAGES else ending
                if name in sample:
                    advice = "give one a name of its own, as in key.mask.png"
                    raise SourceError(f"sample {key!r} has two files for the column {name!r}; {advice}", file.path)
                sample[name] = _value(name, member)
            yield key, sample


@dataclass(frozen=True)
class _Member:
    name: str
    tar: tarfile.TarFile
    info: tarfile.TarInfo

    def read(self) -> bytes:
        stream = self.tar.extractfile(self.info)
        return b"" if stream is None else stream.read()


class _Header(tarfile.TarInfo):
    """A header where only a block of zeros ends the shard; tarfile by itself takes damage and a cut for the end too."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if bytes(buf) == _END:
                raise
            raise tarfile.ReadError("a header is damaged, or the end is missing") from error


@contextmanager
def _members(file: File, mode: Literal["r:*", "r|*"]) -> Iterator[Iterator[_Member]]:
    try:
        with file.open() as stream, tarfile.open(fileobj=stream, mode=mode, tarinfo=_Header) as tar:
            yield _files(tar)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise SourceError(f"it is no whole tar file ({error})", file.path) from error


def _files(tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        if info.isfile() and not info.name.rpartition("/")[2].startswith("."):
            yield _Member(info.name.removeprefix("./"), tar, info)


def _split(name: str) -> tuple[str, str]:
    """The key and the ending: a name up to the first dot after its folder, and what follows it, in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _kind(name: str) -> pa.DataType:
    last = name.rpartition(".")[2]
    if name == IMAGE or last in _IMAGES:
        return columns.IMAGE
    return columns.TEXT if last in _TEXTS else pa.binary()


def _value(name: str, member: _Member) -> Any:
    data, kind = member.read(), _kind(name)
    if columns.is_image(kind):
        return {"bytes": data, "path": member.name}
    return data.decode(errors="replace") if kind == columns.TEXT else data
