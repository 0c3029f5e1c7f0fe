"""Rows of a source by their ids, with as little of it read as its format allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa

from jobs.sources.base import Fragment, Source
from jobs.sources.opening import open_source
from jobs.sources.parquet import ParquetSource
from jobs.sources.spec import SourceSpec
from operators.columns import SOURCE_ID


def lookup(source: Source | SourceSpec, ids: Iterable[str]) -> pa.Table:
    """The rows with these ids, each once, as :meth:`jobs.sources.base.Fragment.read` gives them; some may be missing.

    Of Parquet, only files that ids start with are opened, and of these only the row groups; of folders, only the
    pictures are fetched; of WebDataset, the shards. A column that identifies rows is read whole.

    Raises:
        SourceError: the source can't be read.
    """
    wanted = pa.array(sorted(set(ids)), pa.string())
    opened = _narrowed(source, {_file(one) for one in wanted.to_pylist()})
    described = opened.describe()
    tables = [
        table for fragment in described.fragments if _may_hold(fragment, wanted) for table in fragment.pick(wanted)
    ]
    schema = pa.schema([(SOURCE_ID, pa.string()), *described.schema])
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _narrowed(source: Source | SourceSpec, files: set[str]) -> Source:
    """The source; of Parquet whose ids start with files' names, those files alone: every footer costs a request."""
    if isinstance(source, Source):
        return source
    opened = open_source(source.model_copy(update={"limit": None}))
    if isinstance(opened, ParquetSource) and source.id is None:
        chosen = [file for file in opened.listing.files if file.name in files]
        opened.listing = replace(opened.listing, files=chosen or opened.listing.files)
    return opened


def _may_hold(fragment: Fragment, wanted: pa.Array) -> bool:
    if fragment.file and fragment.file not in {_file(one) for one in wanted.to_pylist()}:
        return False
    known = fragment.ids()
    return known is None or not set(known.to_pylist()).isdisjoint(wanted.to_pylist())


def _file(source_id: str) -> str:
    return source_id.rpartition("#")[0]
