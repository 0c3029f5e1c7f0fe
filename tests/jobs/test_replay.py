"""Rows made again: the same to the last byte, and told how far off where something is other than then."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import Job
from jobs.replay.comparing import compared
from jobs.replay.recorded import Recorded
from jobs.replay.replaying import Result, replay
from jobs.sink import batches
from jobs.stores.store import Store
from operators import Caption, Generate, columns
from operators.errors import SpecError, UserError
from operators.images import decode, encode_all
from operators.models.builtin.scenes import draw, scene
from operators.models.loading import _BUILTIN
from operators.tensors import pack
from tests.jobs import sinks
from tests.jobs.test_cli import latentmill

STEPS = [Caption(), Generate(prompt={"column": "caption"}, steps=2, images_per_row=2)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of five pictures, and a sink with ten made of them, in parts of three source rows and two."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "in").mkdir()
    shutil.copytree(_BUILTIN / "blip", folder / "blip")
    for number, picture in enumerate(encode_all(draw([scene(number, 5) for number in range(5)])).to_pylist()):
        (folder / "in" / f"{number}.png").write_bytes(picture["bytes"])
    steps = [Caption(model=str(folder / "blip")), STEPS[1]]
    job = Job(name="made", source=str(folder / "in"), steps=steps, sink={"uri": str(folder / "out"), "part_rows": 3})
    run = sinks.begun(job)
    run.commit_files()
    run.end()
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it, to be changed; the record and the rows are told the new place."""
    for name in ("in", "out"):
        shutil.copytree(made / name, tmp_path / name)
    for path in (tmp_path / "out" / "data").iterdir():
        table = pq.read_table(path)
        uri = pa.array([f"file://{tmp_path}/in"] * len(table))
        pq.write_table(table.set_column(table.schema.get_field_index("source_uri"), "source_uri", uri), path)
    return tmp_path


def again(folder, *ids, **options):
    return replay(Store.at(str(folder / "out")), ids, **options)


def results(replayed):
    return {row.row_id: row.result for row in replayed.rows}


def test_rows_of_all_parts_are_made_again_byte_for_byte(made):
    told = again(made, sample=100)
    assert len(told.rows) == 10
    assert set(results(told).values()) == {Result.EQUAL}
    assert {column.column for column in told.rows[0].columns} == {
        "caption",
        "generated_image",
        "generated_image_truncated",
    }
    assert told.within
    assert told.changed == []


def test_one_of_two_rows_of_a_source_row_is_made_alone(made):
    told = again(made, "4.png/generate.1", "4.png/generate.1")
    assert results(told) == {"4.png/generate.1": Result.EQUAL}


def test_a_sample_is_the_same_for_the_same_seed(made):
    chosen = [tuple(results(again(made, sample=3, seed=seed))) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_stored_row_that_was_changed_is_told_with_how_far_off_it_is(folder, capsys):
    (path,) = (path for path in (folder / "out" / "data").iterdir() if len(pq.read_table(path)) == 4)
    table = pq.read_table(path)
    pictures = table["generated_image"].to_pylist()
    pixels = np.asarray(decode(pictures[0])).copy()
    pixels[0, 0, 0] ^= 64
    pictures[0]["bytes"] = encode_all([Image.fromarray(pixels)])[0]["bytes"].as_py()
    at = table.schema.get_field_index("generated_image")
    changed = table.set_column(at, table.schema.field(at), pa.array(pictures, columns.IMAGE))
    pq.write_table(changed.set_column(changed.schema.get_field_index("caption"), "caption", pa.array(["no"] * 4)), path)
    row_id = table["row_id"][0].as_py()
    code, out, _ = latentmill(capsys, "replay", folder / "out", row_id, "--json", "--out", folder / "kept")
    (row,) = json.loads(out)["rows"]
    told = {column["column"]: column for column in row["columns"]}
    assert (code, row["result"]) == (1, "different")
    assert told["generated_image"]["largest"] == 64
    assert told["generated_image"]["mean"] == pytest.approx(64 / (64 * 64 * 3))
    assert "'no'" in told["caption"]["told"]
    assert len(list((folder / "kept").iterdir())) == 2
    code, out, _ = latentmill(capsys, "replay", folder / "out", row_id)
    assert "generated_image: largest difference 64, mean" in out


def test_a_source_row_that_is_another_or_gone_is_told(folder):
    (folder / "in" / "0.png").write_bytes((folder / "in" / "1.png").read_bytes())
    (folder / "in" / "4.png").unlink()
    (folder / "in" / "3.png").write_bytes(b"no picture")
    (only,) = again(folder, "3.png/generate.0").rows
    assert only.result is Result.FAILED
    assert only.why.startswith("caption: image_undecodable: ")
    assert only.why.endswith("the source row 3.png holds something else than then")
    told = again(folder, "0.png/generate.0", "4.png/generate.0", "3.png/generate.1")
    assert told.rows[2].result is Result.FAILED
    assert "holds something else than then" in told.rows[0].why
    assert told.rows[1].result is Result.FAILED
    assert "no longer has the row 4.png" in told.rows[1].why
    assert not told.within


def test_other_weights_packages_and_machines_are_told(folder):
    record = next((folder / "out" / "_latentmill" / "runs").glob("*/run.json"))
    told = json.loads(record.read_text())
    told["packages"]["torch"] = "1.0"
    told["summary"]["machines"] = ["an abacus"]
    told["summary"]["weights"] = dict.fromkeys(told["summary"]["weights"], "0" * 64)
    record.write_text(json.dumps(told))
    changed = "\n".join(again(folder, "1.png/generate.0").changed)
    for part in ("torch is", "and was 1.0", "computed on an abacus", "the weights of", "and were 000000000000 in run"):
        assert part in changed


def test_what_cannot_be_made_again_is_one_line(made, tmp_path):
    with pytest.raises(UserError, match="there is no row"):
        again(made, "9.png")
    broken = tmp_path / "broken"
    run = sinks.done(sinks.job(str(tmp_path / "out"), broken))
    with pytest.raises(SpecError, match="the step 'fragile' was made in Python; replay such rows in Python"):
        again(tmp_path, "table#1")
    told = again(tmp_path, "table#1", "table#7/fragile.b", job=run.plan.job)
    assert [*results(told).values()] == [Result.EQUAL] * 3
    (broken / "table#0").write_text("not_finite")
    (broken / "table#1+fragile.a").write_text("not_finite")
    told = again(tmp_path, "table#1", job=run.plan.job)
    assert [row.why for row in told.rows if row.result is Result.FAILED] == ["fragile: not_finite: as asked"]


def test_a_rejected_row_is_left_to_lineage(tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "table#1+fragile.a").write_text("not_finite")
    sinks.done(sinks.job(str(tmp_path / "out"), broken))
    with pytest.raises(UserError, match=r"table#1/fragile.a was rejected.*`latentmill lineage .* tells why"):
        again(tmp_path, "table#1/fragile.a")


def test_the_command_wants_rows(made, capsys):
    code, _, err = latentmill(capsys, "replay", made / "out")
    assert (code, err.count("\n")) == (2, 1)


def test_models_from_the_hub_are_pinned_to_the_commit_of_then():
    record = {
        "run_id": "r",
        "fingerprint": "f",
        "resources": [],
        "revisions": {"org/name": "abc"},
        "job": {"source": {"uri": "x"}, "sink": {"uri": "y"}, "steps": [{"caption": {"model": "org/name"}}]},
    }
    assert Recorded.of(record).steps[0].spec.model == "org/name@abc"
    assert Recorded.of(record | {"revisions": {}}).steps[0].spec.model == "org/name"


def test_sizes_of_batches_survive_in_metadata():
    noted = batches.noted("edit", {"a": 8, "b": 8, "c": 3})
    told = batches.told({key.encode(): value.encode() for key, value in noted.items()}, "edit")
    assert [told.of(row_id) for row_id in "abc"] == [8, 8, 3]
    assert batches.told({}, "edit").of("a") is None
    assert batches.noted("edit", {}) == {}


def picture(*pixels, format_="png"):
    return {"bytes": encode_all([Image.new("RGB", (8, 8), pixels)], format_)[0]["bytes"].as_py(), "path": None}


TENSORS = pack([np.zeros((2, 2)), np.full((2, 2), 0.005), np.full((2, 2), 0.5), np.zeros(4)]).to_pylist()


@pytest.mark.parametrize(
    ("kind", "stored", "made", "equal", "within", "largest"),
    [
        (columns.IMAGE, picture(1, 2, 3), picture(1, 2, 3), True, True, None),
        (columns.IMAGE, picture(1, 2, 3), picture(1, 2, 4), False, True, 1),
        (columns.IMAGE, picture(1, 2, 3), picture(1, 9, 3), False, False, 7),
        (columns.IMAGE, picture(0, 0, 0), picture(0, 0, 0, format_="webp"), False, True, 0),
        (columns.IMAGE, None, picture(1, 2, 3), False, False, None),
        (columns.IMAGE, None, None, True, True, None),
        (columns.TENSOR, TENSORS[0], TENSORS[1], False, True, 0.005),
        (columns.TENSOR, TENSORS[0], TENSORS[2], False, False, 0.5),
        (columns.TENSOR, TENSORS[0], TENSORS[3], False, False, None),
        (pa.float32(), 100.0, 100.05, False, True, 0.05),
        (pa.float32(), 0.1, 0.2, False, False, 0.1),
        (pa.float32(), float("nan"), float("nan"), True, True, None),
        (pa.float32(), None, 1.0, False, False, None),
        (pa.list_(pa.float64()), [1.0, 2.0], [1.0, 2.0005], False, True, 0.0005),
        (pa.list_(pa.float64()), [1.0, 2.0], [1.0], False, False, None),
        (pa.string(), "a", "b", False, False, None),
        (pa.bool_(), True, False, False, False, None),
    ],
)
def test_values_are_compared_by_what_they_are(kind, stored, made, equal, within, largest):
    told = compared(pa.field("x", kind), stored, made)
    assert (told.equal, told.within) == (equal, within)
    assert told.largest == (None if largest is None else pytest.approx(largest, rel=1e-2))
