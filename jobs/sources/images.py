"""A folder of pictures, with the ``metadata.jsonl`` or ``metadata.csv`` of Hugging Face's ImageFolder."""

from __future__ import annotations

from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from jobs.sources.base import Scan, Source
from jobs.sources.files import File, Listing, explained
from jobs.sources.spec import SourceSpec
from jobs.sources.table import cut
from operators import columns
from operators.errors import SourceError

IMAGE = "image"

_FILE_NAME = "file_name"
_METADATA = frozenset({"metadata.jsonl", "metadata.csv"})


class ImagesSource(Source):
    """Every file of a folder is a row, called by its path in the folder; one that is no picture fails as a row.

    The columns are ``image`` and those of the metadata files, whose ``file_name`` is relative to where they lie. A file
    that only the metadata names is a row too, without a picture.
    """

    def __init__(self, listing: Listing, spec: SourceSpec) -> None:
        super().__init__(spec)
        self.listing = listing

    def scan(self, part_rows: int) -> Scan:
        """List the files and read the metadata."""
        described = [_described(file) for file in self.listing.files if _is_metadata(file)]
        extra = pa.concat_tables(described, promote_options="permissive") if described else pa.table({_FILE_NAME: []})
        if IMAGE in extra.column_names:
            raise SourceError(f"the metadata has a column {IMAGE!r}, which is the picture's", self.listing.uri)
        row_of = {name: row for row, name in enumerate(extra[_FILE_NAME].to_pylist())}
        names = sorted({file.name for file in self.listing.files if not _is_metadata(file)} | row_of.keys())
        pictures = pa.array([{"bytes": None, "path": name} for name in names], columns.IMAGE)
        table = extra.drop_columns([_FILE_NAME]).take(pa.array([row_of.get(name) for name in names], pa.int64()))
        table = table.add_column(0, IMAGE, pictures) if table.num_columns else pa.table({IMAGE: pictures})
        return Scan(self.listing.uri, table.schema, cut(names, table, part_rows, self.listing.root))


def _is_metadata(file: File) -> bool:
    return PurePosixPath(file.name).name in _METADATA


def _described(file: File) -> pa.Table:
    """A metadata file with the names in it relative to the dataset."""
    with explained(file.path), file.open() as stream:
        if file.name.endswith(".csv"):
            table = pyarrow.csv.read_csv(stream)
        else:
            table = pyarrow.json.read_json(stream, pyarrow.json.ReadOptions(block_size=1 << 24))
    if _FILE_NAME not in table.column_names:
        raise SourceError(f"there is no {_FILE_NAME!r} in it, which says what picture a line is about", file.path)
    folder = PurePosixPath(file.name).parent
    names = [str(folder / name) for name in table[_FILE_NAME].cast(pa.string()).drop_null().to_pylist()]
    if len(names) < table.num_rows:
        raise SourceError(f"{_FILE_NAME!r} is null in some line", file.path)
    return table.set_column(table.column_names.index(_FILE_NAME), _FILE_NAME, pa.array(names, pa.string()))
