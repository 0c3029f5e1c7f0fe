"""A folder of pictures, with the ``metadata`` (JSON lines, CSV or Parquet) of Hugging Face's ImageFolder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from jobs.formats.naming import picture_in
from jobs.sources.base import Scan, Source
from jobs.sources.content import content_hashes
from jobs.sources.files import File, Listing, explained
from jobs.sources.spec import SourceSpec
from jobs.sources.table import cut
from operators import columns
from operators.errors import SourceError

IMAGE = "image"

_PLACE = "file_name"
_METADATA = frozenset({"metadata.jsonl", "metadata.csv", "metadata.parquet"})
_THREADS = 16


class ImagesSource(Source):
    """Every file of a folder is a row, called by its path in the folder; one that is no picture fails as a row.

    The columns are ``image`` and those of the metadata files. There ``file_name`` is the picture's path, from the
    metadata's folder, and ``mask_file_name`` that of a picture in the column ``mask``. A file that only the metadata
    names is a row too, without a picture; a line that names none is called by its place in the metadata.
    """

    def __init__(self, listing: Listing, spec: SourceSpec) -> None:
        super().__init__(spec)
        self.listing = listing

    def scan(self, part_rows: int) -> Scan:
        """List the files and read the metadata."""
        with ThreadPoolExecutor(_THREADS) as pool:
            described = list(pool.map(_described, filter(is_metadata, self.listing.files)))
        named = {name for table in described for name in _named(table)}
        alone = [file.name for file in self.listing.files if not is_metadata(file) and file.name not in named]
        if alone or not described:
            described.append(pa.table({_PLACE: pa.array(alone, pa.string()), IMAGE: _pictures(alone)}))
        table = pa.concat_tables(described, promote_options="permissive")
        row_of = {name: row for row, name in enumerate(table[_PLACE].to_pylist())}
        names = sorted(row_of)
        table = table.drop_columns([_PLACE]).take(pa.array([row_of[name] for name in names], pa.int64()))
        versions = self._versions(table)
        return Scan(self.listing.uri, table.schema, cut(names, table, part_rows, self.listing.root, versions))

    def _versions(self, table: pa.Table) -> pa.Array:
        """Each row's: those of its pictures' files, and its values in the metadata."""
        of_file = {file.name: file.version for file in self.listing.files}
        told: list[str] = content_hashes(table).to_pylist()
        for column in table.itercolumns():
            if columns.is_image(column.type):
                paths = [value and value["path"] for value in column.to_pylist()]
                told = [f"{version} {of_file.get(path, '')}" for version, path in zip(told, paths, strict=True)]
        return pa.array(told, pa.string())


def is_metadata(file: File) -> bool:
    """Whether the file tells of pictures and is none."""
    return PurePosixPath(file.name).name in _METADATA


def _described(file: File) -> pa.Table:
    """A metadata file: its rows' places, and its columns with those that name pictures as columns of pictures."""
    table = _read(file)
    if IMAGE in table.column_names:
        raise SourceError(f"the metadata has a column {IMAGE!r}, which is the picture's", file.path)
    pictures = {at: name for at, column in enumerate(table.column_names) if (name := picture_in(column))}
    if not pictures:
        raise SourceError(f"there is no {_PLACE!r} in it, which says what picture a line is about", file.path)
    folder, places = PurePosixPath(file.name).parent, [f"{file.name}#{row}" for row in range(table.num_rows)]
    for at, name in sorted(pictures.items(), key=lambda item: item[1] == IMAGE):
        paths = [path and str(folder / path) for path in table[at].cast(pa.string()).to_pylist()]
        places = [path or place for path, place in zip(paths, places, strict=True)]
        table = table.set_column(at, name, _pictures(paths))
    return table.add_column(0, _PLACE, pa.array(places, pa.string()))


def _named(table: pa.Table) -> Iterator[str]:
    """The files that a metadata file speaks of."""
    for column in table.itercolumns():
        if columns.is_image(column.type):
            yield from (value["path"] for value in column.to_pylist() if value)


def _pictures(paths: Sequence[str | None]) -> pa.Array:
    return pa.array([path and {"bytes": None, "path": path} for path in paths], columns.IMAGE)


def _read(file: File) -> pa.Table:
    with explained(file.path), file.open() as stream:
        if file.name.endswith(".csv"):
            return pyarrow.csv.read_csv(stream)
        if file.name.endswith(".parquet"):
            return pq.read_table(stream)
        return pyarrow.json.read_json(stream, pyarrow.json.ReadOptions(block_size=1 << 24))
