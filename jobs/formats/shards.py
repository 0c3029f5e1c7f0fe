"""Tar shards, read from the first byte to the last, and with damage told apart from their end."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

_END = bytes(tarfile.BLOCKSIZE)
_ABOUT = re.compile(r"__[^/]*__")


@dataclass(frozen=True)
class Member:
    """A file in a shard; to be read before the next one is asked for."""

    name: str
    tar: tarfile.TarFile
    info: tarfile.TarInfo

    @property
    def about(self) -> bool:
        """Whether it says something about the shard, as WebDataset's tools agree by its name, and is of no sample."""
        return bool(_ABOUT.fullmatch(self.name))

    def read(self) -> bytes:
        """All its bytes."""
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


def members(stream: Any, mode: Literal["r:*", "r|*"]) -> Iterator[Member]:
    """The files of a shard, but the hidden ones.

    Args:
        stream: the shard's bytes.
        mode: with ``r|*`` the shard is streamed; with ``r:*`` what no one reads is skipped.

    Raises:
        tarfile.TarError: it is no whole tar file. Where it is compressed, so do EOFError and zlib.error.
    """
    with tarfile.open(fileobj=stream, mode=mode, tarinfo=_Header) as tar:
        for info in tar:
            if info.isfile() and not info.name.rpartition("/")[2].startswith("."):
                yield Member(info.name.removeprefix("./"), tar, info)


def add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    """Put a file into a shard: nothing but its name and bytes, so the same files are the same shard."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    shard.addfile(entry, io.BytesIO(data))


def split(name: str) -> tuple[str, str]:
    """The key and the ending: a name up to the first dot after its folder, and what follows it, in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()
