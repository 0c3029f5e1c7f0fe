"""What exports write, read as others read it: by datasets, webdataset, mlcroissant, and the trainers' own code."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
from collections import Counter
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from jobs.cli import main
from jobs.export.options import Preset
from jobs.export.presets import preset
from jobs.export.splitting import Splitting, shards
from jobs.formats import SinkFormat
from jobs.sink.ledger import Mode
from jobs.stores.store import Store
from operators import columns
from operators.errors import SinkError, SpecError
from operators.images import encode_all
from operators.models.builtin.scenes import draw, scene
from tests.jobs import sinks
from tests.jobs.export.making import EDITS, LOST, SCENES, STEPS, exported, gone, job

PAGE = Path(__file__).parents[3] / "docs" / "publishing.md"


def load(folder, **options):
    return datasets.load_dataset(str(folder), cache_dir=str(folder) + "-cache", **options)


@pytest.mark.parametrize(
    "name", ["instruct_pix2pix", "diffusers", "ultraedit", "magicbrush", "text_to_image", "controlnet"]
)
def test_a_preset_has_the_columns_that_its_trainers_look_for(sink, tmp_path, name):
    told = exported(sink, tmp_path / "out", name)
    rows = load(tmp_path / "out", split="train")
    roles = preset(name, None).roles
    expected = [column for column, role in roles.items() if not role.optional]
    assert rows.column_names == [*expected, *columns.LINEAGE.names] == told.columns
    assert told.rows == {"train": EDITS}
    pictures = [name for name in expected if isinstance(rows.features[name], datasets.Image)]
    assert all(isinstance(row[name], Image.Image) for row in rows for name in pictures)
    assert {type(row[name]) for row in rows for name in set(expected) - {*pictures}} <= {str, int}


def test_an_edit_is_told_as_it_was_made(sink, tmp_path):
    exported(sink, tmp_path / "out")
    assert {
        (row["original_prompt"], row["edit_prompt"], row["edited_prompt"]) for row in load(tmp_path / "out")["train"]
    } == {
        (before, f"turn the {drawn.shape} into {'an' if to == 'ellipse' else 'a'} {to}", after)
        for drawn in (scene(number, 5) for number in range(SCENES) if number != LOST)
        for to in ("star", "ellipse")
        for before in [drawn.caption]
        for after in [before.replace(f"a {drawn.colour} {drawn.shape}", f"a {drawn.colour} {to}")]
    }


def test_pictures_keep_their_bytes(sink, tmp_path):
    exported(sink, tmp_path / "out", "magicbrush")
    made = {row["row_id"]: row for path in sink.glob("data/*.parquet") for row in pq.read_table(path).to_pylist()}
    rows = [row for path in (tmp_path / "out").glob("data/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert len(rows) == EDITS
    for row in rows:
        for name, old in (("source_img", "image"), ("target_img", "edited_image"), ("mask_img", "mask")):
            assert row[name] == made[row["row_id"]][old]
        assert row["turn_index"] == 1


def test_own_columns_stand_before_the_presets_and_alone(sink, tmp_path):
    exported(
        sink, tmp_path / "a", "text_to_image", columns={"text": "shape", "outline": "condition_image"}, lineage=False
    )
    rows = load(tmp_path / "a", split="train")
    assert rows.column_names == ["image", "text", "outline"]
    assert set(rows["text"]) == {scene(number, 5).shape for number in range(SCENES) if number != LOST}
    exported(sink, tmp_path / "b", "columns", columns={"picture": "edited_image"}, lineage=False)
    assert load(tmp_path / "b", split="train").column_names == ["picture"]


def test_an_imagefolder_has_the_same_rows(sink, tmp_path):
    exported(sink, tmp_path / "out", format="imagefolder", shard_rows=5, validation="30%")
    exported(sink, tmp_path / "same", shard_rows=5, validation="30%")
    found, same = load(tmp_path / "out"), load(tmp_path / "same")
    assert found.num_rows == same.num_rows
    assert {name: str(kind) for name, kind in found["train"].features.items()} == {
        name: str(kind) for name, kind in same["train"].features.items()
    }
    by_id = {row["row_id"]: row for row in same["train"]}
    for row in found["train"]:
        other = by_id.pop(row["row_id"])
        assert all(row[name] == other[name] for name in ("edit_prompt", "row_seed", "edited_image"))
    assert not by_id
    told = (tmp_path / "out" / "data" / "train" / "00000" / "metadata.jsonl").read_text().splitlines()
    assert list(json.loads(told[0]))[:3] == ["original_prompt", "original_image_file_name", "edit_prompt"]


def test_samples_are_those_of_webdataset(sink, tmp_path):
    exported(sink, tmp_path / "out", "text_to_image", format="webdataset", shard_rows=5)
    tars = sorted(map(str, (tmp_path / "out" / "data").glob("train-*.tar")))
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert [Path(tar).name for tar in tars] == [f"train-{number:05d}-of-00003.tar" for number in range(3)]
    assert len({sample["__key__"] for sample in samples}) == EDITS
    for sample in samples:
        assert Image.open(io.BytesIO(sample["png"])).size == (64, 64)
        assert sample["txt"].decode() == json.loads(sample["json"])["text"]
    rows = load(tmp_path / "out", split="train")
    assert rows.num_rows == EDITS
    assert {"png", "txt", "json"} <= {*rows.column_names}


@pytest.mark.parametrize("format_", SinkFormat)
def test_sinks_of_every_format_are_exported_whole(tmp_path, format_):
    table = pa.table({"n": range(12), "image": encode_all(draw([scene(number, 0) for number in range(12)]))})
    sinks.done(sinks.job(str(tmp_path / "sink"), tmp_path / "broken", format=format_, source=table))
    exported(tmp_path / "sink", tmp_path / "out", "columns", columns={"number": "n", "picture": "image"}, shard_rows=7)
    found = pa.concat_tables(map(pq.read_table, sorted((tmp_path / "out" / "data").iterdir())))
    assert sorted(found["row_id"].to_pylist()) == sorted(f"table#{n}/fragile.{to}" for n in range(12) for to in "ab")
    assert all(row["row_id"].startswith(f"table#{row['number']}/") for row in found.to_pylist())
    assert found["picture"][0].as_py()["bytes"] == table["image"][found["number"][0].as_py()].as_py()["bytes"]


def test_a_source_row_is_in_one_split_wherever_it_is():
    ids = pa.array([f"photos/{number}.jpg" for number in range(20_000)])
    splits = Splitting("train", 0.05)(ids)
    assert splits == Splitting("train", 0.05)(ids)
    assert 0.045 < splits.count("validation") / len(ids) < 0.055
    more = Splitting("train", 0.1)(ids)
    assert all(after == "validation" for before, after in zip(splits, more, strict=True) if before == "validation")


def test_every_row_is_in_one_file():
    counts = {f"part-{part}": Counter(train=part * 7 % 11, validation=part % 3) for part in range(40)}
    for rows in (1, 4, 9, 1000):
        laid = shards(counts, ["train", "validation"], rows)
        assert max(shard.rows for shard in laid) <= rows
        seen = Counter(
            (shard.split, piece.part, at)
            for shard in laid
            for piece in shard.pieces
            for at in range(piece.skip, piece.skip + piece.rows)
        )
        assert set(seen.values()) == {1}
        assert seen.keys() == {
            (split, part, at) for part, count in counts.items() for split in count for at in range(count[split])
        }
        assert max(s.rows for s in laid if s.split == "train") - min(s.rows for s in laid if s.split == "train") <= 1


def test_rows_go_by_the_steps_of_the_run_that_made_them(tmp_path):
    def edits(to):
        return [{"edit": {**STEPS[1]["edit"], "from": {"column": "shape"}, "to": to}}]

    first = sinks.begun(job(tmp_path / "sink", edits("star")))
    first.commit([0])
    first.end()
    second = sinks.begun(job(tmp_path / "sink", edits("ellipse")), Mode.EXTEND)
    second.commit([2])
    second.end()
    exported(tmp_path / "sink", tmp_path / "out", "diffusers")
    told = {row["source_id"]: row["edit_prompt"] for row in load(tmp_path / "out", split="train")}
    assert told == {
        f"table#{number}": f"turn the {scene(number, 5).shape} into {to}"
        for number, to in ((0, "a star"), (1, "a star"), (2, "a star"), (6, "an ellipse"))
    }


class StoppedError(Exception):
    pass


def stop(done, files):
    if done == 2:
        raise StoppedError


def test_an_export_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(sink, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    with pytest.raises(StoppedError):
        exported(sink, out, shard_rows=1, progress=stop)
    done = {path: path.stat().st_mtime_ns for path in out.glob("data/*")}
    assert 2 <= len(done) < EDITS
    assert not (out / "README.md").exists()
    (out / "data" / "train-00011-of-00012.parquet").write_bytes(b"half of a file that was never noted")
    with pytest.raises(SinkError, match="unfinished export of other rows or with other options; `--overwrite`"):
        exported(sink, out, shard_rows=2)
    exported(sink, out, shard_rows=1)
    exported(sink, whole, shard_rows=1)
    assert all(path.stat().st_mtime_ns == moment for path, moment in done.items())
    assert bytes_below(out) == bytes_below(whole)


def bytes_below(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_what_is_there_is_not_touched_unless_asked(sink, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    with pytest.raises(SinkError, match="is not empty; `--overwrite`"):
        exported(sink, out)
    assert bytes_below(out) == {Path("mine.txt"): b"kept"}
    exported(sink, out, overwrite=True, shard_rows=1)
    exported(sink, out, "diffusers", overwrite=True)
    assert sorted(path.name for path in (out / "data").iterdir()) == ["train-00000-of-00001.parquet"]
    assert (out / "mine.txt").read_text() == "kept"
    with pytest.raises(SinkError, match="this is the sink of a job"):
        exported(sink, sink, overwrite=True)


def test_a_sink_whose_run_has_not_ended_is_refused_unless_asked_for(tmp_path):
    run = sinks.begun(sinks.job(str(tmp_path / "sink"), tmp_path / "broken"))
    run.commit([0])
    given = {"preset": "columns", "columns": {"number": "n"}}
    with pytest.raises(SinkError, match=r"its run lives; .*--partial"):
        exported(tmp_path / "sink", tmp_path / "out", **given)
    assert exported(tmp_path / "sink", tmp_path / "out", **given, partial=True).rows == {"train": 6}
    run.end(ValueError())
    with pytest.raises(SinkError, match=r"did not end as it should \(failed\); run the job again"):
        exported(tmp_path / "sink", tmp_path / "other", **given)
    dead = sinks.begun(sinks.job(str(tmp_path / "dead"), tmp_path / "broken"), Mode.RUN, gone())
    dead.record._ended.set()
    with pytest.raises(SinkError, match=r"\(dead\)"):
        exported(tmp_path / "dead", tmp_path / "other", **given)


def test_what_a_sink_has_not_got_is_one_line(sink, tmp_path):
    sinks.done(sinks.job(str(tmp_path / "numbers"), tmp_path / "broken"))
    told = (
        r"no column for 'input_image' \(the picture before the edit\); there are 'n', 'drawn'; name one with `--columns"
    )
    with pytest.raises(SinkError, match=told):
        exported(tmp_path / "numbers", tmp_path / "out", "diffusers")
    with pytest.raises(
        SpecError, match=r"--columns text=captoin: there is no column 'captoin' in the sink; there are 'image'"
    ):
        exported(sink, tmp_path / "out", "text_to_image", columns={"text": "captoin"})
    with pytest.raises(SpecError, match="'row_id' is a column of the lineage"):
        exported(sink, tmp_path / "out", "columns", columns={"row_id": "caption"})
    with pytest.raises(SpecError, match="imagefolder needs a column of pictures"):
        exported(sink, tmp_path / "out", "columns", columns={"text": "caption"}, format="imagefolder")
    sinks.begun(sinks.job(str(tmp_path / "none"), tmp_path / "broken")).end()
    with pytest.raises(SinkError, match="no accepted rows"):
        exported(tmp_path / "none", tmp_path / "out", "diffusers")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["memory", "s3"])
def test_a_dataset_goes_to_any_store(sink, request, place):
    uri = request.getfixturevalue("s3").new_bucket() if place == "s3" else "memory://published"
    exported(sink, f"{uri}/shapes", shard_rows=5)
    with pytest.raises(SinkError, match="is not empty"):
        exported(sink, f"{uri}/shapes")
    exported(sink, f"{uri}/shapes", "text_to_image", format="webdataset", overwrite=True)
    store = Store.at(f"{uri}/shapes")
    told = json.loads(store.get("croissant.json"))
    (file,) = [each for each in told["distribution"] if each["@type"] == "cr:FileObject"]
    assert file["sha256"] == hashlib.sha256(store.get(file["contentUrl"])).hexdigest()
    assert store.below("") == ["README.md", "croissant.json", "data/train-00000-of-00001.tar"]


COMMANDS = re.findall(r"^latentmill export out/edited (\S+ .+)$", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_in_the_documents_runs(sink, tmp_path, capsys, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["export", str(sink), *shlex.split(command), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert not end.value.code
    assert sum(told["rows"].values()) == EDITS
    assert Path(told["target"], "README.md").exists()


@pytest.mark.parametrize("name", [each for each in Preset if each is not Preset.COLUMNS])
def test_the_documents_name_every_column_of_a_preset(name):
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    assert re.findall(r"`(\w+)`", line.split("|")[2]) == list(preset(name, None).roles)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--preset", "pix2pix"], "'pix2pix' is not one of 'instruct_pix2pix', 'diffusers'"),
        (["--preset", "columns"], "the preset `columns` is your own columns: name some"),
        (["--preset", "diffusers", "--columns", "text"], "--columns text: write it as NEW=OLD"),
        (["--preset", "diffusers", "--validation", "3"], "--validation: '3' won't do: share of source rows, as in 1%"),
        (["--preset", "diffusers", "--instruction", "go"], "--instruction: an instruction needs one of {from}, {to}"),
        (["--preset", "diffusers", "--split", "validation", "--validation", "1%"], "the split is called 'validation'"),
    ],
)
def test_a_mistake_is_one_line(sink, tmp_path, capsys, arguments, line):
    with pytest.raises(SystemExit) as end:
        main(["export", str(sink), str(tmp_path / "out"), *arguments])
    told = capsys.readouterr().err
    assert end.value.code == 2
    assert told.count("\n") == 1
    assert line in told
