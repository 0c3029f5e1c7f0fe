"""What the tests of sources share."""

from __future__ import annotations

import pickle
from typing import Any

import pyarrow as pa

from jobs.sources import Described, SourceSpec, open_source


def described(uri: Any, part_rows: int = 4, **options: Any) -> Described:
    """A source's description, after a journey to another process."""
    source = open_source(SourceSpec(uri=str(uri), **options) if options else uri)
    found: Described = pickle.loads(pickle.dumps(source.describe(part_rows)))
    return found


def tables(found: Described, part_rows: int = 4) -> list[pa.Table]:
    """All its tables; every one must be as described, and no larger than asked for."""
    read = [table for fragment in found.fragments for table in fragment.read(part_rows)]
    for table in read:
        assert table.schema.equals(pa.schema([("source_id", pa.string()), *found.schema]))
        assert 0 < table.num_rows <= part_rows
    assert found.rows in (None, sum(table.num_rows for table in read))
    return read


def read(uri: Any, part_rows: int = 4, **options: Any) -> pa.Table:
    """All rows of a source."""
    return pa.concat_tables(tables(described(uri, part_rows, **options), part_rows))


def ids(table: pa.Table) -> list[str]:
    """The rows' ids."""
    return list(table["source_id"].to_pylist())
