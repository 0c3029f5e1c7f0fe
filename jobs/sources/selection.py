"""From a dataset's own columns to a job's: chosen, renamed, identified, pictures in one form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sources.files import Folder, read_all
from jobs.sources.spec import RowOptions
from operators import columns
from operators.errors import SourceError
from operators.likeness import Alike, Likeness
from operators.near import meant

WRITTEN_BY_US = b"latentmill"
_DEFAULT_PICTURE = "image"
_PICTURES_A_CHUNK = 16
"""Few enough that their bytes never outgrow the 2 GiB of an Arrow binary array."""


@dataclass(frozen=True)
class Selection:
    """Which columns are taken, under which names, and which of them hold pictures."""

    projection: dict[str, str]
    """New name to the source's name, in the order of the result."""
    pictures: frozenset[str]
    """New names of columns that are brought into the form of :data:`operators.columns.IMAGE`."""
    id: str | None
    needed: list[str] | None
    schema: pa.Schema
    """The result's columns without ``source_id``."""

    @classmethod
    def choose(cls, given: pa.Schema, options: RowOptions, uri: str) -> Selection:
        """Match options to the columns that a dataset has.

        Raises:
            SourceError: a column is not there, there twice, reserved, or can't serve as what it is meant for.
        """
        projection = options.projection() or _all_columns(given, uri)
        _refuse_missing([*projection.values(), *([options.id] if options.id else [])], given.names, uri)
        _refuse_reserved(projection, uri)
        if options.id is not None and not _is_id(given.field(options.id).type):
            kind = given.field(options.id).type
            raise SourceError(f"the id column {options.id!r} is {kind}, but must hold text or integers", uri)
        kinds = {name: given.field(source).type for name, source in projection.items()}
        fields = [_plain(given.field(source)).with_name(name) for name, source in projection.items()]
        pictures = _picture_columns(kinds, options.image_columns, uri)
        schema = pa.schema([f.with_type(columns.IMAGE) if f.name in pictures else f for f in fields])
        _refuse_to_compare(options.dedup, schema, uri)
        return cls(projection, pictures, options.id, options.needed(), schema)

    def shape(self, locators: pa.Array, table: pa.Table, folder: Folder | None, uri: str) -> pa.Table:
        """Bring rows as they are stored into the schema, with ``source_id`` before it.

        Raises:
            SourceError: an id is null, or a picture's store fails.
        """
        arrays = [
            self.ids(table, locators, uri),
            *(self._column(table[source], name, folder) for name, source in self.projection.items()),
        ]
        return pa.table(arrays, schema=pa.schema([(columns.SOURCE_ID, pa.string()), *self.schema]))

    def ids(self, table: pa.Table, locators: pa.Array, uri: str) -> pa.ChunkedArray:
        """The ids of rows as they are stored: their locators, or what the id column holds.

        Raises:
            SourceError: an id is null.
        """
        if self.id is None:
            return pa.chunked_array([locators])
        given = table[self.id]
        if given.null_count:
            first = pc.index(pc.is_null(given), True).as_py()
            raise SourceError(f"the id column {self.id!r} is null in {locators[first]}", uri)
        return given.cast(pa.string())

    def _column(self, column: pa.ChunkedArray, name: str, folder: Folder | None) -> pa.ChunkedArray:
        if name not in self.pictures:
            return column
        column = pa.chunked_array([_as_pictures(chunk) for chunk in column.chunks], columns.IMAGE)
        return column if folder is None else fetched(column, folder)


def _all_columns(given: pa.Schema, uri: str) -> dict[str, str]:
    ours = columns.RESERVED if WRITTEN_BY_US in (given.metadata or {}) else frozenset()
    names = [name for name in given.names if name not in ours]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"there are two columns {twice[0]!r}; choose others with `columns`", uri)
    return {name: name for name in names}


def _refuse_missing(wanted: Iterable[str], there: list[str], uri: str) -> None:
    for name in wanted:
        if there.count(name) != 1:
            fault = "there are two columns" if name in there else "there is no column"
            raise SourceError(f"{fault} {name!r}; there are {', '.join(map(repr, there))}", uri)


def _refuse_reserved(projection: dict[str, str], uri: str) -> None:
    for name, source in projection.items():
        if name in columns.RESERVED:
            advice = f"give it another with `columns: {{my_{name}: {source}}}`"
            raise SourceError(f"the column name {name!r} is reserved; {advice}", uri)


def _refuse_to_compare(alike: Alike | None, schema: pa.Schema, uri: str) -> None:
    if alike is None:
        return
    if alike.column not in schema.names:
        raise SourceError(f"`dedup`: there is no column {alike.column!r}{meant(alike.column, schema.names)}", uri)
    given = schema.field(alike.column)
    if alike.by is not Likeness.EXACT and columns.feature(given) != "Image":
        shown = columns.feature(given) or given.type
        raise SourceError(
            f"`dedup`: column {alike.column!r} is {shown}; only pictures can be compared by {alike.by}", uri
        )


def _picture_columns(kinds: dict[str, pa.DataType], named: list[str] | None, uri: str) -> frozenset[str]:
    for name in named or ():
        if name not in kinds:
            listed = ", ".join(map(repr, kinds))
            raise SourceError(f"`image_columns` names {name!r}, which is no column; there are {listed}", uri)
        if not _can_hold_pictures(kinds[name]):
            raise SourceError(f"column {name!r} is {kinds[name]}, but pictures are bytes, paths or URIs", uri)
    meant = [_DEFAULT_PICTURE] if named is None else named
    return frozenset(
        name for name, kind in kinds.items() if columns.is_image(kind) or (name in meant and _can_hold_pictures(kind))
    )


def _is_id(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_id(kind.value_type)
    return bool(_is_text(kind) or pa.types.is_integer(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_pair(kind: pa.DataType) -> bool:
    """Whether it is a struct of bytes and path, in whatever order and width another writer chose."""
    return bool(
        pa.types.is_struct(kind)
        and {field.name for field in kind} == {"bytes", "path"}
        and _is_bytes(kind.field("bytes").type)
        and _is_text(kind.field("path").type)
    )


def _can_hold_pictures(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_bytes(kind) or _is_pair(kind)


def _as_pictures(array: pa.Array) -> pa.StructArray:
    """Bytes, paths or pairs of both in the one form that operators take."""
    if columns.is_image(array.type):
        return array
    data, paths = pa.nulls(len(array), pa.binary()), pa.nulls(len(array), pa.string())
    if _is_pair(array.type):
        data, paths = (
            pc.struct_field(array, "bytes").cast(pa.binary()),
            pc.struct_field(array, "path").cast(pa.string()),
        )
    elif _is_text(array.type):
        paths = array.cast(pa.string())
    else:
        data = array.cast(pa.binary())
    return pa.StructArray.from_arrays([data, paths], fields=list(columns.IMAGE), mask=array.is_null())


def fetched(column: pa.ChunkedArray, folder: Folder) -> pa.ChunkedArray:
    """The column with the bytes that its paths lead to, where it has none."""
    empty = pc.and_(pc.is_null(pc.struct_field(column, "bytes")), pc.is_valid(pc.struct_field(column, "path")))
    places = np.flatnonzero(empty.to_numpy()).tolist()
    if not places:
        return column
    rows = column.to_pylist()
    found = read_all(folder, [rows[place]["path"] for place in places])
    for place, data in zip(places, found, strict=True):
        rows[place]["bytes"] = data
    chunks = [rows[first : first + _PICTURES_A_CHUNK] for first in range(0, len(rows), _PICTURES_A_CHUNK)]
    return pa.chunked_array([pa.array(chunk, columns.IMAGE) for chunk in chunks], columns.IMAGE)


def _plain(field: pa.Field) -> pa.Field:
    """The field, and of what its file said of it only what extension types, recordings and tensors need."""
    metadata = field.metadata or {}
    if columns.is_tensor(field.type):
        return field.with_metadata({key: value for key, value in metadata.items() if not key.startswith(b"PARQUET:")})
    kept = {
        key: value for key, value in metadata.items() if key.startswith((b"ARROW:extension", columns.FEATURE.encode()))
    }
    return field.with_metadata(kept or None)
