"""The Lance table of a sink holds the rows of the parts that count, whatever is cut off, and whoever else is at it."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from jobs.formats import FORMATS, SinkFormat
from jobs.formats.snapshots import recorded
from jobs.formats.table import FILES, REPLACED
from jobs.sink import ledger, switch
from jobs.sink.ledger import Mode, Start
from jobs.sink.writer import Writer
from jobs.stores.store import Store
from operators import columns
from operators.errors import SinkError
from operators.images import decode
from tests.jobs.test_formats import rows as hard_rows

SCHEMA = pa.schema([pa.field("n", pa.int16(), metadata={"of": "n"}), *columns.LINEAGE], {b"latentmill": b"1"})
LANCE = FORMATS[SinkFormat.LANCE]
ROOT = Path(__file__).parents[2]


class PowerCutError(Exception):
    pass


@dataclass
class Clock:
    """Calls something before one operation of a store."""

    at: int = -1
    then: Callable[[], None] = lambda: None
    operations: int = 0

    def tick(self):
        self.operations += 1
        if self.operations == self.at:
            self.then()


@dataclass(frozen=True)
class Clocked(Store):
    """A store whose operations are counted."""

    clock: Clock = field(default_factory=Clock, compare=False)

    def put(self, name, data):
        self.clock.tick()
        super().put(name, data)

    def get(self, name):
        self.clock.tick()
        return super().get(name)

    def names(self, folder):
        self.clock.tick()
        return super().names(folder)

    def exists(self, name):
        self.clock.tick()
        return super().exists(name)

    def remove(self, names):
        for name in names:
            self.clock.tick()
            super().remove([name])


def begun(sink, run_id, mode=Mode.RUN, fingerprint="plan"):
    start = Start(run_id, fingerprint, mode)
    epoch = ledger.claim(sink, start, ledger.check(sink, start))
    switch.finish(epoch)
    ledger.settle(epoch, start)
    if mode is not Mode.OVERWRITE:
        LANCE.settle(epoch, SCHEMA, before=epoch.number)
    return epoch


def commit(epoch, values, file="a", replaced=()):
    """Commit one part: ``{source id: n}``, where None is a row that a filter left out."""
    ids = list(values)
    told: dict[str, Any] = {
        "n": list(values.values()),
        "row_id": ids,
        "source_id": ids,
        "source_uri": ["u"] * len(ids),
        "content_hash": ["h"] * len(ids),
        "run_id": [epoch.run_id] * len(ids),
        "plan_fingerprint": [epoch.fingerprint] * len(ids),
        "row_seed": [0] * len(ids),
        "_version": [0] * len(ids),
        "_error": pa.nulls(len(ids), columns.ERROR_TYPE),
        "_kept": [n is not None for n in values.values()],
    }
    noted = {REPLACED: json.dumps(list(replaced))} if replaced else {}
    Writer(epoch, SCHEMA, LANCE).commit(pa.table(told), ledger.file_key(file), noted)


def ended(epoch):
    ledger.close(epoch)
    return LANCE.settle(epoch, SCHEMA, before=epoch.number + 1)


def seen(sink, version=None):
    """The rows as somebody else's reader finds them."""
    table = lance.dataset(f"{sink.uri}/data.lance", version=version).to_table()
    assert len(set(table["row_id"].to_pylist())) == table.num_rows
    return dict(zip(table["row_id"].to_pylist(), table["n"].to_pylist(), strict=True))


@pytest.fixture
def sink(tmp_path):
    return Store(str(tmp_path / "sink"))


def test_each_run_that_brings_rows_is_a_version(sink):
    first = begun(sink, "first")
    commit(first, {"x": 1, "y": 2})
    commit(first, {"z": 3}, "b")
    assert sink.names("data.lance/_versions") == []
    (snapshot,) = ended(first)
    assert (snapshot.version, snapshot.run_id, snapshot.rows, snapshot.added, snapshot.removed) == (1, "first", 3, 3, 0)
    assert ended(begun(sink, "nothing new")) == []
    third = begun(sink, "third")
    commit(third, {"w": 4})
    ended(third)
    assert [(s.version, s.run_id, s.rows) for s in recorded(sink)] == [(1, "first", 3), (2, "third", 4)]
    assert seen(sink, 1) == {"x": 1, "y": 2, "z": 3}
    assert seen(sink) == {"x": 1, "y": 2, "z": 3, "w": 4}


def test_types_pictures_and_what_the_schema_says_survive(sink):
    table = hard_rows()
    in_flight = table.append_column("_error", pa.nulls(6, columns.ERROR_TYPE))
    in_flight = in_flight.append_column("_kept", pa.array([True] * 6)).append_column("_version", pa.array([0] * 6))
    epoch = begun(sink, "run")
    Writer(epoch, table.schema, LANCE).commit(in_flight, ledger.file_key(""), {})
    LANCE.settle(epoch, table.schema, before=2)
    found = lance.dataset(f"{sink.uri}/data.lance").to_table()
    assert found.schema.equals(table.schema, check_metadata=True)
    assert repr(found.to_pylist()) == repr(table.to_pylist())
    assert decode(found["image"][0].as_py()).size == (64, 64)


def test_replaced_rows_go_and_their_outputs_come_in_one_version(sink):
    first = begun(sink, "first")
    commit(first, {"it's": 1, "y": 2})
    commit(first, {"other": 5}, "b")
    ended(first)
    second = begun(sink, "second")
    commit(second, {"it's": 10, "new": 3}, replaced=["it's"])
    commit(second, {"other": None}, "b", replaced=["other"])
    (snapshot,) = ended(second)
    assert (snapshot.version, snapshot.rows, snapshot.added, snapshot.removed) == (2, 3, 2, 2)
    assert seen(sink) == {"it's": 10, "y": 2, "new": 3}
    assert seen(sink, 1) == {"it's": 1, "y": 2, "other": 5}
    third = begun(sink, "third")
    commit(third, {"other": 6}, "b")
    ended(third)
    assert seen(sink) == {"it's": 10, "y": 2, "new": 3, "other": 6}


def test_rows_are_replaced_in_fragments_that_their_owner_compacted(sink):
    first = begun(sink, "first")
    for n in range(4):
        commit(first, {f"x{n}": n})
    ended(first)
    lance.dataset(f"{sink.uri}/data.lance").optimize.compact_files()
    second = begun(sink, "second")
    commit(second, {"x1": 11}, replaced=["x1"])
    ended(second)
    assert seen(sink) == {"x0": 0, "x1": 11, "x2": 2, "x3": 3}


def test_the_table_s_owner_may_compact_it_and_clean_it_up(sink):
    runs(sink)
    table = lance.dataset(f"{sink.uri}/data.lance")
    table.optimize.compact_files()
    lance.dataset(table.uri).cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
    with pytest.raises(ValueError, match="not found"):
        seen(sink, 1)
    third = begun(sink, "third")
    assert seen(sink) == WANTED
    commit(third, {"y": 7, "new": 8}, replaced=["y"])
    (snapshot,) = ended(third)
    assert (snapshot.added, snapshot.removed, snapshot.rows) == (2, 1, 4)
    assert seen(sink) == {**WANTED, "y": 7, "new": 8}


def test_what_dead_runs_committed_is_published_by_the_next_start_run_by_run(sink):
    commit(begun(sink, "first"), {"x": 1})
    dead = begun(sink, "second")
    assert seen(sink) == {"x": 1}
    commit(dead, {"x": 2, "y": 2}, replaced=["x"])
    begun(sink, "third")
    assert [(s.version, s.run_id) for s in recorded(sink)] == [(1, "first"), (2, "second")]
    assert seen(sink) == {"x": 2, "y": 2}


OLD = [({"x": 1, "y": 2}, "a", ()), ({"gone": None}, "b", ())]
NEW = [({"z": 4, "x": 3}, "a", ("x",))]
WANTED = {"x": 3, "y": 2, "z": 4}


def run(sink, run_id, parts):
    """A start that does what is not done yet."""
    epoch = begun(sink, run_id)
    outcomes = ledger.outcomes(sink, ledger.committed(sink), ["source_id"])
    done = {name for table in outcomes for name in table["source_id"].to_pylist()}
    for values, file, replaced in parts:
        if not values.keys() - set(replaced) <= done:
            commit(epoch, values, file, replaced)
    ended(epoch)


def runs(sink):
    """Two runs; the second adds, replaces and finds what the first left."""
    run(sink, "first", OLD)
    run(sink, "second", NEW)


def operations(tmp_path):
    clock = Clock()
    runs(Clocked(str(tmp_path / "undisturbed"), clock))
    return clock.operations


def test_runs_that_are_cut_off_before_any_operation_lose_and_double_nothing(tmp_path):
    total = operations(tmp_path)
    assert total > 60
    for at in range(1, total + 1):
        uri = str(tmp_path / f"cut-{at}")

        def cut():
            raise PowerCutError

        with pytest.raises(PowerCutError):
            runs(Clocked(uri, Clock(at, cut)))
        sink = Store(uri)
        runs(sink)
        assert seen(sink) == WANTED, at
        counted = {ledger.stem(name) for name in ledger.committed(sink)}
        assert {ledger.stem(name) for name in sink.names(FILES)} <= counted, at


def test_another_run_that_takes_over_before_any_operation_is_right_and_this_one_changes_nothing(tmp_path):
    total = operations(tmp_path)
    for at in range(1, total + 1):
        uri = str(tmp_path / f"taken-{at}")
        clock = Clock(at, lambda uri=uri: runs(Store(uri)))
        with contextlib.suppress(SinkError):
            runs(Clocked(uri, clock))
        assert seen(Store(uri)) == WANTED, at


def test_drivers_that_are_killed_at_random_moments_lose_and_double_nothing(sink):
    program = "import sys; from tests.jobs.test_lance import *; print(flush=True); runs(Store(sys.argv[1]))"
    rng, killed = random.Random(3), 0
    while killed < 8:
        driver = subprocess.Popen([sys.executable, "-c", program, sink.uri], stdout=subprocess.PIPE, cwd=ROOT)
        driver.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(rng.uniform(0, 0.3))
        driver.kill()
        killed += driver.wait() == -signal.SIGKILL
        if driver.returncode == 0:
            assert seen(sink) == WANTED
            sink = Store(f"{sink.uri}-again")
    runs(sink)
    assert seen(sink) == WANTED
    counted = {ledger.stem(name) for name in ledger.committed(sink)}
    assert {ledger.stem(name) for name in sink.names(FILES)} <= counted


def test_a_task_that_wrote_other_bytes_of_a_part_leaves_nothing(sink):
    epoch = begun(sink, "run")
    commit(epoch, {"x": 1})
    commit(epoch, {"x": 2})
    assert len(sink.names(FILES)) == 2
    ended(epoch)
    assert len(sink.names(FILES)) == 1
    assert seen(sink) == {"x": 2}


def test_data_files_without_outcomes_are_swept_and_those_of_old_versions_are_kept(sink):
    first = begun(sink, "first")
    commit(first, {"x": 1})
    ended(first)
    second = begun(sink, "second")
    commit(second, {"x": 2}, replaced=["x"])
    LANCE.write(second, f"part-000002-{ledger.file_key('a')}-{'ab' * 10}", pa.table({"n": [1]}))
    ended(second)
    assert len(sink.names(FILES)) == 2
    assert (seen(sink, 1), seen(sink)) == ({"x": 1}, {"x": 2})


def test_overwriting_is_one_version_and_may_change_the_columns(sink):
    old = begun(sink, "old")
    commit(old, {"x": 1, "y": 2})
    ended(old)
    killed = begun(sink, "killed", Mode.OVERWRITE, "new plan")
    commit(killed, {"x": 10})
    new = begun(sink, "new", Mode.OVERWRITE, "new plan")
    commit(new, {"y": 20})
    assert seen(sink) == {"x": 1, "y": 2}
    ledger.close(new)
    switch.switch(new)
    (snapshot,) = LANCE.settle(new, SCHEMA, before=new.number + 1)
    assert (snapshot.version, snapshot.added, snapshot.removed) == (2, 2, 2)
    assert (seen(sink, 1), seen(sink)) == ({"x": 1, "y": 2}, {"x": 10, "y": 20})


def test_a_store_that_lance_can_not_reach_is_one_line():
    sink = Store("memory://lance/sink")
    with pytest.raises(SinkError, match=r"Lance can't reach memory://; it can reach folders, s3:// and gs://"):
        begun(sink, "run")


def test_a_table_on_s3(s3):
    sink = Store(f"{s3.new_bucket()}/sink")
    runs(sink)
    table = lance.dataset(f"{sink.uri}/data.lance", storage_options={"allow_http": "true"}).to_table()
    assert dict(zip(table["row_id"].to_pylist(), table["n"].to_pylist(), strict=True)) == WANTED
    assert [snapshot.version for snapshot in recorded(sink)] == [1, 2]
