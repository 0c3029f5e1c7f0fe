"""Duplicates in the source: what is refused, and that only the column that is compared is read for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import Job
from jobs.pipeline.duplicates import Duplicates, narrow
from jobs.sources import RowOptions, TableSource
from operators.errors import ColumnError, SourceError
from operators.likeness import Alike

TABLE = pa.table({"image": [b"a", b"b"], "caption": ["x", "y"], "number": [1, 2]})


def planned(dedup: dict[str, Any], steps: list[Any] | None = None) -> Any:
    options = RowOptions.model_validate({"dedup": dedup})
    return Job(source=TableSource(TABLE, options), steps=steps or [], sink="out").plan()


@pytest.mark.parametrize(
    ("dedup", "told"),
    [
        ({"column": "captoin"}, "`dedup`: there is no column 'captoin'; did you mean 'caption'?"),
        (
            {"column": "caption", "by": "pixels"},
            "`dedup`: column 'caption' is string; only pictures can be compared",
        ),
    ],
)
def test_a_column_that_cannot_be_compared_is_refused(dedup: dict[str, Any], told: str) -> None:
    with pytest.raises(SourceError) as caught:
        planned(dedup)
    assert told in str(caught.value)
    assert planned({"column": "caption"}).rows == 2


def test_a_step_that_would_have_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ColumnError, match="to leave out duplicates of the source, give `dedup` under `source`"):
        planned({}, [{"dedup": "perceptual"}])
    with pytest.raises(ColumnError, match="`top` is for the rows that a source row became"):
        planned({}, [{"filter": {"top": 3, "by": "number"}}])


def test_it_decides_which_rows_there_are_so_it_is_part_of_the_plan() -> None:
    assert planned({}).fingerprint != planned({"by": "perceptual"}).fingerprint


def test_only_the_column_and_the_ids_are_read(tmp_path: Any) -> None:
    pq.write_table(TABLE.append_column("sku", pa.array([7, 8])), tmp_path / "rows.parquet")
    source = {"uri": str(tmp_path), "columns": {"picture": "image", "text": "caption"}, "id": "sku"}
    (fragment,) = Job(source=source, steps=[], sink="out").plan().source.fragments
    (table,) = narrow(fragment, "picture").read(10)
    assert table.column_names == ["source_id", "picture"]
    assert table["source_id"].to_pylist() == ["7", "8"]
    assert narrow(fragment, "picture").selection.needed == ["image", "sku"]


def test_rows_are_known_by_their_ids_where_hashes_meet() -> None:
    from jobs.pipeline.duplicates import _hashed

    ids = pa.array(["b", "a", "c"])
    hashes = _hashed(pa.chunked_array([pa.array(["a", "a", "a"])]))
    found = Duplicates(Alike(), hashes, ids, pa.array(["x", "y", "z"]))
    assert found.reasons(pa.chunked_array([["q", "a"], ["a"]])) == {1: "the same as y", 2: "the same as y"}
    assert Duplicates.none().reasons(pa.chunked_array([["q", "a"]])) == {}
    assert hashes.dtype == np.uint64


def test_the_first_row_is_kept_but_for_one_that_is_done() -> None:
    from jobs.pipeline.duplicates import _kept

    groups = np.array([0, 1, 0, 1, 0, 5])
    assert _kept(groups, np.zeros(6, bool)).tolist() == [0, 1, 0, 1, 0, 5]
    assert _kept(groups, np.array([0, 0, 1, 0, 1, 0], bool)).tolist() == [2, 1, 2, 1, 2, 5]
