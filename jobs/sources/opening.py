"""From what a job says of its source to the source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

import pyarrow as pa
from pydantic import ValidationError

from jobs.sources import lance, parquet, shapes, text, webdataset
from jobs.sources.base import Source
from jobs.sources.files import Listing, list_files
from jobs.sources.images import ImagesSource, is_metadata
from jobs.sources.lance import LanceSource
from jobs.sources.parquet import ParquetSource
from jobs.sources.pie_bench import PieBenchSource
from jobs.sources.shapes import Series, ShapesSource
from jobs.sources.spec import Format, SourceSpec
from jobs.sources.table import TableSource
from jobs.sources.text import TextSource
from jobs.sources.webdataset import WebDatasetSource
from operators.errors import SourceError

_OF_FILES: dict[Format, Callable[[Listing, SourceSpec], Source]] = {
    Format.PARQUET: ParquetSource,
    Format.IMAGES: ImagesSource,
    Format.WEBDATASET: WebDatasetSource,
    Format.LANCE: LanceSource,
    Format.TEXT: TextSource,
    Format.PIE_BENCH: PieBenchSource,
}

_BUILTIN = "builtin:"
_PICTURES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def open_source(source: SourceSpec | str | Path | pa.Table) -> Source:
    """Find out what a source is.

    Args:
        source: a spec, or just its URI or path, or an Arrow table.

    Raises:
        SourceError: there is nothing there, or it is in no format that can be read.
    """
    if isinstance(source, pa.Table):
        return TableSource(source)
    spec = source if isinstance(source, SourceSpec) else SourceSpec(uri=str(source))
    if spec.format is Format.SHAPES or spec.uri.startswith(_BUILTIN):
        return ShapesSource(_series(spec.uri), spec)
    listing = list_files(spec.uri)
    format_ = spec.format or _inferred(listing)
    if spec.snapshot is not None and format_ is not Format.LANCE:
        raise SourceError(f"there are no snapshots here: it is no Lance table but {format_}", spec.uri)
    return _OF_FILES[format_](listing, spec)


def _inferred(listing: Listing) -> Format:
    names = [file.name.lower() for file in listing.files if not is_metadata(file) or len(listing.files) == 1]
    endings = {Format.LANCE: lance.SUFFIXES, Format.PARQUET: parquet.SUFFIXES, Format.WEBDATASET: webdataset.SUFFIXES}
    for format_, suffixes in endings.items():
        if any(name.endswith(suffixes) for name in names):
            return format_
    if all(name.endswith(text.SUFFIX) for name in names):
        return Format.TEXT
    if len(names) > 1 or names[0].endswith(_PICTURES):
        return Format.IMAGES
    known = ", ".join(Format)
    raise SourceError(f"the name doesn't tell the format; say it with `format`, one of {known}", listing.uri)


def _series(uri: str) -> Series:
    name, _, query = uri.partition("?")
    if name != shapes.URI:
        raise SourceError(f"there is no such built-in source; there is {shapes.URI}?rows=100&seed=3", uri)
    try:
        return Series.model_validate(dict(parse_qsl(query, keep_blank_values=True)))
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise SourceError(f"{key}: {fault['msg']}; write {shapes.URI}?rows=100&seed=3", uri) from error
