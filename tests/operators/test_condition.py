"""Condition pictures: what libraries draw, at the pictures' own sizes, row by row."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.feature import canny
from transformers import AutoImageProcessor, AutoModelForDepthEstimation

from operators import Column, Generate, columns
from operators.condition import Canny, Condition, Depth, Lineart, Scribble
from operators.errors import ModelError
from operators.images import decode_all, encode_all
from tests.operators import tiny_conditions

PHOTOS = [Image.fromarray(data.astronaut()[:120, 160:300]), Image.fromarray(data.chelsea()[40:140, 60:300])]


@pytest.fixture(scope="module")
def photos() -> pa.StructArray:
    return encode_all([*PHOTOS, PHOTOS[0].crop((10, 10, 90, 70))])


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_conditions.depth_model(tmp_path_factory.mktemp("models") / "dpt")


def drawn(spec: Condition, table: pa.Table) -> list[Any]:
    result = spec.load()(table)
    assert result[columns.ERROR].null_count == table.num_rows, result[columns.ERROR]
    return [np.asarray(picture.convert("RGB")) for picture in decode_all(result["condition_image"].combine_chunks())]


def test_canny_is_the_librarys_own(photos: pa.StructArray) -> None:
    table = pa.table({"image": photos, "low": [50, 100, 0], "high": [100.0, 200.0, 30.0], "blur": [0.0, 1.0, 2.0]})
    columns_of: dict[str, Any] = {"low_threshold": "low", "high_threshold": "high", "sigma": "blur"}
    spec = Canny(**{name: Column(column=column) for name, column in columns_of.items()})
    made = drawn(spec, table)
    for row, (picture, edges) in enumerate(zip(decode_all(photos), made, strict=True)):
        grey = np.asarray(picture.convert("L"))  # type: ignore[union-attr]
        low, high, sigma = (table[name][row].as_py() for name in ("low", "high", "blur"))
        theirs = canny(grey, sigma=sigma, low_threshold=low, high_threshold=high, mode="nearest")
        assert 0.01 < theirs.mean() < 0.5
        assert np.array_equal(edges, np.repeat(theirs[..., None], 3, -1) * np.uint8(255))
    assert np.array_equal(drawn(Canny(), table)[0], drawn(Canny(low_threshold=100, high_threshold=200), table)[0])


def test_scribbles_are_where_it_is_darker_than_around(photos: pa.StructArray) -> None:
    table = pa.table({"image": photos, "threshold": [4.0, 16.0, 64.0], "sigma": [3.0, 5.0, 2.0]})
    made = drawn(Scribble(threshold=Column(column="threshold"), sigma=Column(column="sigma")), table)
    for row, (picture, strokes) in enumerate(zip(decode_all(photos), made, strict=True)):
        pixels = np.asarray(picture, np.float64)
        near, far = (
            np.stack([gaussian_filter(one, sigma, mode="nearest") for one in pixels.transpose(2, 0, 1)], -1)
            for sigma in (0.5, table["sigma"][row].as_py())
        )
        assert (strokes.any(-1) == ((far - near).max(-1) > table["threshold"][row].as_py())).mean() > 0.999
        assert 0 < strokes.mean() < 128


def test_line_art_is_white_on_dark_lines_and_black_on_what_is_even() -> None:
    page = np.full((40, 60, 3), 230, np.uint8)
    page[20, 5:55] = 40
    page[:, 30] = [200, 215, 220]
    [lines] = drawn(Lineart(), pa.table({"image": encode_all([Image.fromarray(page)])}))
    assert lines.shape == page.shape
    assert lines[20, 15].min() > 240
    assert 0 < lines[8, 30].min() < 200
    assert lines[4:16, 8:24].max() == 0
    [softer] = drawn(Lineart(sharpness=4.0, threshold=2.0), pa.table({"image": encode_all([Image.fromarray(page)])}))
    assert softer[20, 15].min() < lines[20, 15].min()


def test_depth_is_the_models_own_at_each_pictures_size(depth_folder: Path, photos: pa.StructArray) -> None:
    processor: Any = AutoImageProcessor.from_pretrained(depth_folder)
    model: Any = AutoModelForDepthEstimation.from_pretrained(depth_folder)
    spec = Depth(depth_model=str(depth_folder))
    for picture, ours in zip(decode_all(photos), drawn(spec, pa.table({"image": photos})), strict=True):
        size = [(picture.height, picture.width)]  # type: ignore[union-attr]
        with torch.no_grad():
            told = model(**processor(images=picture, return_tensors="pt"))
        [theirs] = processor.post_process_depth_estimation(told, target_sizes=size)
        depth = theirs["predicted_depth"].numpy()
        grey = (depth - depth.min()) / (depth.max() - depth.min()) * 255
        assert ours.shape == (*size[0], 3)
        assert ours.min() == 0
        assert ours.max() == 255
        assert abs(ours[..., 0] - grey).max() < 0.6


@pytest.mark.parametrize("method", [Canny, Scribble, Lineart, Depth], ids=lambda method: str(method.__name__))
def test_a_row_is_the_same_alone_and_as_large_as_asked_for(
    method: type[Condition], depth_folder: Path, photos: pa.StructArray
) -> None:
    options: dict[str, Any] = {"depth_model": str(depth_folder)} if method is Depth else {}
    operator = method(width=Column(column="width"), height=48, **options).load()
    table = pa.table({"image": photos, "width": [64, 48, 64], columns.ROW_ID: list("abc")})
    together = operator(table)["condition_image"]
    assert [picture.size for picture in decode_all(together)] == [(64, 48), (48, 48), (64, 48)]  # type: ignore[union-attr]
    for row in range(3):
        [alone] = decode_all(operator(table.slice(row, 1))["condition_image"])
        [mate] = decode_all(together.slice(row, 1))
        assert abs(np.asarray(alone, np.int16) - np.asarray(mate, np.int16)).max() <= 1
        assert np.asarray(alone).std() > 0


def test_what_can_not_be_used_costs_its_row_alone(photos: pa.StructArray) -> None:
    rows = pa.table(
        {
            "image": pa.array(
                [*photos.to_pylist(), {"bytes": b"no", "path": None}, None, photos[0].as_py()], columns.IMAGE
            ),
            "low": [100.0, 300.0, None, 100.0, 100.0, -1.0],
        }
    )
    result = Canny(low_threshold=Column(column="low")).load()(rows)
    errors = result[columns.ERROR].to_pylist()
    codes = [None, "value_invalid", "value_missing", "image_undecodable", "image_missing", "value_invalid"]
    assert [error and error["code"] for error in errors] == codes
    assert errors[1]["message"] == "low_threshold is 300.0, but must not be above high_threshold, which is 200.0"
    assert result["condition_image"].is_null().to_pylist() == [code is not None for code in codes]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (Canny, {"low_threshold": 300}, "must not be above high_threshold"),
        (Canny, {"width": 64}, "give width and height, or neither"),
        (Canny, {"height": 0, "width": 64}, "greater than or equal to 1"),
        (Scribble, {"threshold": 300}, "less than or equal to 255"),
        (Scribble, {"sigma": 0.5}, "greater than 0.5"),
        (Lineart, {"sharpness": 0}, "greater than 0"),
        (Depth, {}, "Field required"),
    ],
)
def test_wrong_options_are_refused(method: type[Condition], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        method(**options)


def test_another_kind_of_model_is_refused(depth_folder: Path, blip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a BlipForConditionalGeneration, which does not estimate depth"):
        Depth(depth_model=str(blip_folder)).load()
    bare = shutil.copytree(depth_folder, tmp_path / "bare", ignore=shutil.ignore_patterns("preprocessor_config.json"))
    with pytest.raises(ModelError, match=r"not of the kind that this step takes: no preprocessor_config\.json"):
        Depth(depth_model=str(bare)).load()
    spec = Depth(depth_model=str(depth_folder))
    assert spec.load().digests() == spec.digests() == {str(depth_folder): spec.files(spec.depth_model).digest}


def test_controls_read_what_it_writes(diffusion_folder: Path, photos: pa.StructArray, tmp_path: Path) -> None:
    net = tiny_conditions.controlnet(tmp_path / "net", diffusion_folder)
    spec = Generate(model=str(diffusion_folder), prompt="a", steps=1, controls=[{"controlnet": {"model": str(net)}}])
    table = Canny().load()(pa.table({"image": photos}))
    spec.chain(table.schema)
    assert spec.load()(table)[columns.ERROR].null_count == len(photos)
