"""Rows that were left out, kept beside the others: through commits, sweeps, retries, generations and verification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import Job
from jobs.sink import ledger, switch
from jobs.sink.ledger import FILTERED, OUTCOMES, Mode
from jobs.stores.store import Store
from jobs.verify import verify
from jobs.verifying.verdict import Code
from operators import Filter
from operators.base import Spec
from tests.jobs import sinks
from tests.jobs.steps import Fragile

KEPT = "drawn < 500"


@pytest.fixture
def sink(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path / "sink"))


@pytest.fixture
def filtering(sink: Store, tmp_path: Path) -> Job:
    """A job of which each row becomes two, and about half are left out."""
    return made(sink, tmp_path)


def made(sink: Store, folder: Path, expression: str = KEPT, **options: Any) -> Job:
    steps: list[Spec] = [Fragile(broken=str(folder / "broken"), to=("a", "b")), Filter(expression=expression)]
    return sinks.job(sink.uri, folder / "broken", steps=steps, **{"filtered": True, **options})


def rows(sink: Store, folder: str) -> dict[str, dict[str, Any]]:
    tables = [pq.read_table(pa.BufferReader(sink.get(f"{folder}/{name}"))) for name in sink.names(folder)]
    return {row["row_id"]: row for table in tables for row in table.to_pylist()}


def test_they_are_there_with_the_step_and_the_reason(sink: Store, filtering: Job) -> None:
    summary = sinks.done(filtering).summary
    data, filtered = rows(sink, "data"), rows(sink, FILTERED)
    assert len(data) + len(filtered) == 2 * sinks.ROWS
    assert not data.keys() & filtered.keys()
    assert all(row["drawn"] < 500 for row in data.values())
    assert all(row["drawn"] >= 500 for row in filtered.values())
    assert {row["_filtered_step"] for row in filtered.values()} == {"filter"}
    assert {row["_filtered_reason"] for row in filtered.values()} == {"drawn < 500 is false"}
    assert summary.filtered == summary.filtered_by["filter"] == len(filtered) > 0
    verdict = verify(sink)
    assert verdict.sound
    assert verdict.looked_at[Code.FILTERED_DISAGREE] == len(sink.names(FILTERED))


def test_they_are_not_there_unless_asked_for_and_asking_is_no_other_plan(sink: Store, tmp_path: Path) -> None:
    plain = made(sink, tmp_path, filtered=False)
    run = sinks.begun(plain)
    run.commit([0, 1])
    run.end()
    assert not sink.names(FILTERED)
    run = sinks.begun(made(sink, tmp_path))
    run.commit([2, 3])
    run.end()
    assert {row.split("#")[1].split("/")[0] for row in rows(sink, FILTERED)} <= {str(n) for n in range(6, 12)}
    assert verify(sink).sound


def test_what_a_dead_run_left_is_swept(sink: Store, filtering: Job) -> None:
    dead = sinks.begun(filtering)
    dead.commit([0])
    (name,) = sink.names(OUTCOMES)
    sink.remove([f"{OUTCOMES}/{name}"])
    assert sink.names(FILTERED) == [name]
    later = sinks.begun(filtering)
    assert not sink.names(FILTERED)
    later.commit(range(4))
    dead.epoch.store.put(f"{FILTERED}/{name}", b"late")
    later.end()
    assert name not in sink.names(FILTERED)
    assert verify(sink).sound


def test_a_retried_row_that_is_left_out_joins_them(sink: Store, filtering: Job, tmp_path: Path) -> None:
    whole = made(Store.at(str(tmp_path / "whole")), tmp_path)
    sinks.done(whole)
    expected = rows(Store.at(whole.sink.uri), FILTERED)
    left_out, kept = next(iter(expected)), next(iter(rows(Store.at(whole.sink.uri), "data")))
    for row in (left_out, kept):
        (tmp_path / "broken" / row.replace("/", "+")).write_text("not_finite")
    sinks.done(filtering)
    assert rows(sink, "rejects").keys() == {left_out, kept}
    for file in (tmp_path / "broken").iterdir():
        file.unlink()
    told = sinks.retried(filtering)
    assert (told.rows_out, told.filtered, told.filtered_by) == (1, 1, {"filter": 1})
    assert rows(sink, FILTERED).keys() == expected.keys()
    assert verify(sink).sound


def test_another_generation_takes_their_place(sink: Store, filtering: Job, tmp_path: Path) -> None:
    sinks.done(filtering)
    before = rows(sink, FILTERED).keys()
    run = sinks.begun(made(sink, tmp_path, "drawn >= 500"), Mode.OVERWRITE)
    run.commit(range(4))
    assert rows(sink, FILTERED).keys() == before
    switch.switch(run.epoch)
    run.end()
    assert rows(sink, FILTERED)
    assert not rows(sink, FILTERED).keys() & before
    assert verify(sink).sound


def test_a_row_that_is_replaced_is_no_longer_among_them(sink: Store, tmp_path: Path) -> None:
    from jobs.formats import replacing

    sinks.done(made(sink, tmp_path, format="lance"))
    name = sink.names(FILTERED)[0]
    table = pq.read_table(pa.BufferReader(sink.get(f"{FILTERED}/{name}")))
    gone = table["source_id"][0].as_py()
    left = sum(source != gone for source in table["source_id"].to_pylist())
    replacing.forget(sink, {name: [gone]})
    found = verify(sink).of(Code.FILTERED_DISAGREE) + verify(sink).of(Code.DATA_MISSING)
    assert not found
    sources = set(table["source_id"].to_pylist())
    assert sum(row["source_id"] in sources for row in rows(sink, FILTERED).values()) == left


@pytest.mark.parametrize("fault", ["gone", "cut", "short", "orphan"])
def test_what_is_wrong_with_them_is_found(sink: Store, filtering: Job, fault: str) -> None:
    sinks.done(filtering)
    name = sink.names(FILTERED)[0]
    where = f"{FILTERED}/{name}"
    data = sink.get(where)
    table = pq.read_table(pa.BufferReader(data))
    expected = {
        "gone": Code.DATA_MISSING,
        "cut": Code.UNREADABLE,
        "short": Code.FILTERED_DISAGREE,
        "orphan": Code.ORPHAN,
    }[fault]
    match fault:
        case "gone":
            sink.remove([where])
        case "cut":
            sink.put(where, data[:-100])
        case "short":
            out = pa.BufferOutputStream()
            pq.write_table(table[1:], out)
            sink.put(where, bytes(out.getvalue()))
        case "orphan":
            where = f"{FILTERED}/{ledger.stem(name)[:-4]}0000.parquet"
            sink.put(where, data)
    assert {(found.code, found.where) for found in verify(sink).faults} == {(expected, where)}
