"""What a part's writer leaves behind where its run no longer holds the sink."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.sink import ledger
from operators.errors import SinkError
from tests.jobs import sinks


@pytest.mark.parametrize("format", ["parquet", "lance", "webdataset"])
def test_a_run_that_was_overtaken_puts_no_rows_beside_those_of_the_other(tmp_path: Path, format: str) -> None:  # noqa: A002
    job = sinks.job(str(tmp_path / "sink"), tmp_path / "broken", format=format)
    former = sinks.begun(job)
    former.commit([0])
    later = sinks.begun(job)
    before = later.epoch.store.below("")
    with pytest.raises(SinkError, match="taken over"):
        former.commit([1])
    assert later.epoch.store.below("") == before
    later.commit([1, 2, 3])
    later.end()
    assert len(ledger.committed(later.epoch.store)) == 4
