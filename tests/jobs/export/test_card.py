"""What tells of an export: its card as the hub reads it, and its Croissant metadata as mlcroissant does."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import datasets
import mlcroissant
import pyarrow.parquet as pq
import pytest
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from operators.models.builtin.scenes import scene
from tests.jobs.export.making import EDITS, LOST, exported


@pytest.fixture(scope="module")
def dataset(sink: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("card") / "dataset"
    exported(sink, target, validation="30%", shard_rows=5, license="cc-by-4.0", source_license="CC0")
    return target


def test_the_hub_can_read_the_card(dataset):
    told = DatasetCard.load(dataset / "README.md").data
    assert told.license == "cc-by-4.0"
    assert told.task_categories == ["image-to-image"]
    assert told.size_categories == ["n<1K"]
    assert told.tags == ["latentmill", "synthetic", "image-editing"]
    files = MetadataConfigs.from_dataset_card_data(told)["default"]["data_files"]
    assert [each["split"] for each in files] == ["train", "validation"]
    info = datasets.DatasetInfo._from_yaml_dict(told["dataset_info"])
    found = datasets.load_dataset(str(dataset), cache_dir=str(dataset.parent / "cache"))
    assert info.features == found["train"].features
    assert {name: split.num_examples for name, split in info.splits.items()} == found.num_rows
    assert sum(found.num_rows.values()) == EDITS
    assert info.download_size == sum(path.stat().st_size for path in dataset.glob("data/*"))


def test_the_card_tells_how_the_rows_were_made_and_what_became_of_the_others(sink, dataset):
    text = DatasetCard.load(dataset / "README.md").text
    record = json.loads(next(sink.glob("_latentmill/runs/*/run.json")).read_text())
    ((model, digest),) = record["summary"]["weights"].items()
    for line in (
        "| 1 | `condition` | method: canny | - |",
        f"`{model}`, SHA-256 `{digest}` |",
        "| source rows | 7 |",
        f"| rows of the job | {EDITS} |",
        "| rejected: `image_missing` | 1 |",
        "- this dataset: cc-by-4.0",
        "- the source: CC0",
        f"latentmill lineage {sink} ROW_ID",
        "`edit_prompt` was made by a template: `turn the {from} into {to}`.",
    ):
        assert line in text, line
    shown = re.findall(r"^\| (a .+ background) \| (turn the .+) \| (a .+ background) \|$", text, re.MULTILINE)
    assert len(shown) == 3
    assert {before for before, _, _ in shown} < {scene(n, 5).caption for n in range(7) if n != LOST}


def test_nothing_leads_back_where_lineage_was_dropped(sink, tmp_path):
    exported(sink, tmp_path / "out", lineage=False)
    told = (tmp_path / "out" / "README.md").read_text() + (tmp_path / "out" / "croissant.json").read_text()
    assert "The columns that lead back to the source were left out." in told
    assert "none was named; name one before you publish it" in told
    assert str(sink) not in told
    assert "row_id" not in told


@pytest.mark.parametrize("format_", ["parquet", "imagefolder", "webdataset"])
def test_croissant_metadata_is_right(sink, tmp_path, format_):
    exported(sink, tmp_path, format=format_, validation="30%", shard_rows=5, license="cc-by-4.0")
    told = json.loads((tmp_path / "croissant.json").read_text())
    found = mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"))
    assert not found.metadata.ctx.issues.errors
    files = {each["contentUrl"]: each["sha256"] for each in told["distribution"] if "sha256" in each}
    held = {
        str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("data/**/*") if path.suffix not in ("", ".png")
    }
    assert files == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in held.items()}
    if format_ == "webdataset":
        assert sum(1 for _ in found.records("pictures")) == 2 * EDITS
        return
    rows = list(found.records("rows"))
    splits = {(row["rows/row_id"].decode(), row["rows/split"].decode()) for row in rows}
    assert len(splits) == EDITS
    assert {split for _, split in splits} == {"train", "validation"}
    assert all(row["rows/edit_prompt"].decode().startswith("turn the ") for row in rows)


def test_a_flipped_byte_is_seen_by_croissants_own_reader(sink, tmp_path):
    exported(sink, tmp_path, format="webdataset")
    (tar,) = tmp_path.glob("data/*.tar")
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    with pytest.raises(mlcroissant.GenerationError):
        list(mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json")).records("pictures"))


def test_pictures_are_images_in_the_files_own_schema(dataset):
    for path in dataset.glob("data/*.parquet"):
        features = json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]
        assert features == {"original_image": {"_type": "Image"}, "edited_image": {"_type": "Image"}}
