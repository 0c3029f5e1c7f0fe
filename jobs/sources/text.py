"""A list of prompts, one a line."""

from __future__ import annotations

import pyarrow as pa

from jobs.sources.base import Scan, Source
from jobs.sources.files import File, Listing, explained
from jobs.sources.spec import SourceSpec
from jobs.sources.table import cut
from operators import columns
from operators.errors import SourceError

SUFFIX = ".txt"


class TextSource(Source):
    """UTF-8 text whose lines are rows of one column, ``prompt``; a row is called ``prompts.txt#12`` after its line.

    The first line is 1; lines that hold nothing are no rows, but count.
    """

    def __init__(self, listing: Listing, spec: SourceSpec) -> None:
        super().__init__(spec)
        self.listing = listing

    def scan(self, part_rows: int) -> Scan:
        """Read the files: prompts are few bytes, and the only way to know the rows."""
        files = self.listing.files if len(self.listing.files) == 1 else self.listing.ending(SUFFIX)
        lines = [line for file in files for line in _lines(file)]
        table = pa.table({"prompt": pa.array([text for _, text in lines], columns.TEXT)})
        return Scan(self.listing.uri, table.schema, cut([name for name, _ in lines], table, part_rows))


def _lines(file: File) -> list[tuple[str, str]]:
    with explained(file.path):
        data = file.read()
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise SourceError(f"it is not UTF-8 text ({error})", file.path) from error
    return [(f"{file.name}#{nth}", line.strip()) for nth, line in enumerate(lines, 1) if line.strip()]
