"""Lance tables as sources: sinks of other jobs, of any snapshot, and tables of others."""

from __future__ import annotations

import json

import lance
import pyarrow as pa
import pytest
from click.testing import CliRunner

from jobs.cli import cli
from jobs.sources import SourceSpec
from jobs.stores.store import Store
from operators.errors import SinkError, SourceError
from tests.jobs.reading import described, ids, read
from tests.jobs.test_lance import begun, commit, ended


@pytest.fixture
def sink(tmp_path):
    """Two snapshots: one of four rows, one in which a row was replaced and another came."""
    store = Store(str(tmp_path / "sink"))
    first = begun(store, "first")
    commit(first, {"a/1.jpg": 1, "a/2.jpg": 2, "a/3.jpg": 3})
    commit(first, {"b/1.jpg": 4}, "b")
    ended(first)
    second = begun(store, "second")
    commit(second, {"a/2.jpg": 20, "a/4.jpg": 5}, replaced=["a/2.jpg"])
    ended(second)
    return tmp_path / "sink"


def rows(found):
    return dict(zip(ids(found), found["n"].to_pylist(), strict=True))


NEWEST = {"a/1.jpg": 1, "a/2.jpg": 20, "a/3.jpg": 3, "a/4.jpg": 5, "b/1.jpg": 4}


def test_a_sink_is_read_under_its_rows_own_ids_without_their_lineage(sink):
    found = read(sink, 2)
    assert found.column_names == ["source_id", "n"]
    assert rows(found) == NEWEST
    assert rows(read(sink / "data.lance")) == NEWEST
    assert rows(read(sink, columns={"number": "n"}).rename_columns(["source_id", "n"])) == NEWEST


def test_a_snapshot_is_read_by_its_number_also_by_plain_lance(sink):
    old = {"a/1.jpg": 1, "a/2.jpg": 2, "a/3.jpg": 3, "b/1.jpg": 4}
    assert rows(read(sink, snapshot=1)) == old
    assert rows(read(sink, snapshot=2)) == NEWEST
    assert lance.dataset(str(sink / "data.lance"), version=1).count_rows() == len(old)
    with pytest.raises(SourceError, match="there is no snapshot 3; `latentmill snapshots` lists"):
        described(sink, snapshot=3)


def test_ids_are_known_without_reading_rows_and_stay_when_the_table_is_compacted(sink):
    def known(found):
        return sorted(name for fragment in found.fragments for name in fragment.ids().to_pylist())

    assert known(described(sink, 2)) == sorted(NEWEST)
    versions = {version for fragment in described(sink, 2).fragments for version in fragment.versions().tolist()}
    lance.dataset(str(sink / "data.lance")).optimize.compact_files()
    assert known(described(sink, 2)) == sorted(NEWEST)
    assert rows(read(sink, 2)) == NEWEST
    later = {version for fragment in described(sink, 2).fragments for version in fragment.versions().tolist()}
    assert not versions & later


def test_a_table_of_somebody_else_has_places_for_ids(tmp_path):
    place = str(tmp_path / "theirs.lance")
    lance.write_dataset(pa.table({"n": range(5)}), place, max_rows_per_file=3)
    lance.dataset(place).delete("n = 1")
    assert rows(read(place, 2)) == {"0#0": 0, "0#2": 2, "1#0": 3, "1#1": 4}
    assert described(place, 2, limit=3).rows == 3
    assert rows(read(place, 2, id="n")) == {"0": 0, "2": 2, "3": 3, "4": 4}


def test_snapshots_are_of_tables_alone(tmp_path):
    (tmp_path / "prompts.txt").write_text("a")
    with pytest.raises(SourceError, match="no snapshots here: it is no Lance table but text"):
        described(tmp_path, snapshot=1)
    with pytest.raises(ValueError, match="snapshot is for Lance tables, and the format is parquet"):
        SourceSpec(uri="x", format="parquet", snapshot=1)


def test_the_command_line_lists_snapshots(sink, tmp_path):
    shown = CliRunner().invoke(cli, ["snapshots", str(sink)])
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.output.splitlines()]
    assert lines[0] == ["snapshot", "committed", "rows", "added", "removed", "run"]
    assert [(line[0], *line[3:]) for line in lines[1:]] == [
        ("1", "4", "4", "0", "first"),
        ("2", "5", "2", "1", "second"),
    ]
    told = json.loads(CliRunner().invoke(cli, ["snapshots", str(sink), "--json"]).output)
    assert [(one["version"], one["epoch"], one["run_id"]) for one in told] == [(1, 1, "first"), (2, 2, "second")]
    refused = CliRunner().invoke(cli, ["snapshots", str(tmp_path)])
    assert isinstance(refused.exception, SinkError)
    assert "there are no snapshots here" in str(refused.exception)


def test_a_table_on_s3_is_a_source(s3):
    store = Store(f"{s3.new_bucket()}/sink")
    epoch = begun(store, "first")
    commit(epoch, {"x": 1, "y": 2})
    ended(epoch)
    assert rows(read(store.uri)) == {"x": 1, "y": 2}
