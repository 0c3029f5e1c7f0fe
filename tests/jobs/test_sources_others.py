from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from jobs.sources import RowOptions, SourceSpec, TableSource
from operators import columns
from operators.errors import SourceError
from operators.images import decode_all
from operators.models.builtin import scenes
from tests.jobs.reading import described, ids, read, tables


def test_lines_of_text_are_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffa cat\r\n\n  \nein Hündchen \n".encode())
    found = read(path)
    assert found["prompt"].to_pylist() == ["a cat", "ein Hündchen"]
    assert ids(found) == ["prompts.txt#1", "prompts.txt#4"]
    assert described(path).rows == 2
    assert ids(read(path, limit=1)) == ["prompts.txt#1"]
    assert read(path, columns={"text": "prompt"}).column_names == ["source_id", "text"]
    (tmp_path / "more.txt").write_text("a dog")
    assert ids(read(tmp_path)) == ["more.txt#1", "prompts.txt#1", "prompts.txt#4"]
    (tmp_path / "more.txt").write_bytes(b"caf\xe9")
    with pytest.raises(SourceError, match=r"more\.txt: it is not UTF-8 text"):
        described(tmp_path)


def test_shapes_come_with_their_truth() -> None:
    found = read("builtin:shapes?rows=10&seed=3")
    truth = [scenes.scene(number, 3) for number in range(10)]
    names = ["image", "true_caption", "shape", "colour", "background", "place", "x", "y", "radius", "mask"]
    assert found.column_names == ["source_id", *names]
    assert ids(found)[-1] == "shapes#000009"
    assert found["true_caption"].to_pylist() == [scene.caption for scene in truth]
    for name in names[2:9]:
        assert found[name].to_pylist() == [getattr(scene, name) for scene in truth]
    pictures = np.stack([np.asarray(image) for image in decode_all(found["image"])])
    assert np.array_equal(pictures, scenes.draw(truth))
    masks = np.stack([np.asarray(image)[..., 0] == 255 for image in decode_all(found["mask"])])
    assert np.array_equal(masks, scenes.masks(truth))


def test_shapes_by_default() -> None:
    found = described("builtin:shapes", 256)
    assert (found.uri, found.rows, len(found.fragments)) == ("builtin:shapes?rows=1000&seed=0", 1000, 4)
    assert described("builtin:shapes", limit=5).rows == 5
    assert ids(read("builtin:shapes?rows=9", columns=["shape"], limit=5)) == [f"shapes#{n:06d}" for n in range(5)]


def test_an_arrow_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.jpg").write_bytes(b"one")
    monkeypatch.chdir(tmp_path)
    table = pa.table({"image": ["1.jpg"] * 6, "sku": list("abcdef"), "n": pa.chunked_array([[1, 2], [3, 4, 5, 6]])})
    found = described(table)
    assert (found.uri, found.rows, len(found.fragments)) == ("table", 6, 2)
    rows = pa.concat_tables(tables(found))
    assert ids(rows) == [f"table#{n}" for n in range(6)]
    assert rows["image"].to_pylist() == [{"bytes": b"one", "path": "1.jpg"}] * 6
    assert rows["n"].to_pylist() == [1, 2, 3, 4, 5, 6]
    chosen = TableSource(table, RowOptions(id="sku", columns=["n"], limit=5)).describe(4)
    assert ids(pa.concat_tables(tables(chosen))) == list("abcde")
    assert described(table.drop_columns(["image"])[:0]).rows == 0


def test_a_table_of_two_equal_names() -> None:
    table = pa.table([[1], [2], [3]], names=["a", "a", "b"])
    with pytest.raises(SourceError, match="there are two columns 'a'; choose others with `columns`"):
        described(table)
    assert TableSource(table, RowOptions(columns=["b"])).describe().schema.names == ["b"]
    with pytest.raises(SourceError, match="there are two columns 'a'; there are"):
        TableSource(table, RowOptions(columns=["a"])).describe()


@pytest.mark.parametrize(
    "options",
    [{"limit": 0}, {"columns": []}, {"columns": ["a", "a"]}, {"format": "csv"}, {"uri": ""}, {"column": ["a"]}],
)
def test_a_spec_is_checked_when_made(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SourceSpec.model_validate({"uri": "x", **options})


def test_a_missing_driver_is_named() -> None:
    code = """
import sys
sys.modules["s3fs"] = None
from jobs.sources import open_source
from operators.errors import SourceError
try:
    open_source("s3://bucket/folder")
except SourceError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "s3://bucket/folder: s3:// needs another package: pip install 'latentmill[s3]'\n"


def test_describing_needs_neither_ray_nor_torch() -> None:
    code = """
import sys
from jobs.sources import open_source
open_source("builtin:shapes?rows=3").describe()
assert not {"ray", "torch", "transformers", "diffusers", "datasets", "pandas"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pictures_are_in_the_one_form_only() -> None:
    assert described(pa.table({"image": [b"x"]})).schema.field("image").type == columns.IMAGE
