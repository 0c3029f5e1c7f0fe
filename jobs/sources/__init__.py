"""Where rows come from: Parquet, image folders, WebDataset shards, lists of prompts, Arrow tables, rendered scenes."""

from __future__ import annotations

from jobs.sources.base import Described, Fragment, Source
from jobs.sources.opening import open_source
from jobs.sources.spec import Format, RowOptions, SourceSpec
from jobs.sources.table import TableSource

__all__ = ["Described", "Format", "Fragment", "RowOptions", "Source", "SourceSpec", "TableSource", "open_source"]
