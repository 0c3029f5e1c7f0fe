"""Captions: the same as transformers', and the same in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from transformers import BlipForConditionalGeneration, BlipProcessor

from operators import Caption, Column, columns
from operators.caption import Sampling
from operators.images import decode_all
from operators.models.sampling import row_sampling

PREFIXES = ["", "a photo of", "this is", "a picture of a", "", "the"]


def table(pictures: pa.StructArray) -> pa.Table:
    return pa.table({"image": pictures, "prefix": PREFIXES, columns.ROW_ID: list("abcdef")})


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("prefix", ["", "a photo of"])
def test_a_caption_is_transformers(blip_folder: Path, pictures: pa.StructArray, beams: int, prefix: str) -> None:
    model = BlipForConditionalGeneration.from_pretrained(blip_folder)
    processor = BlipProcessor.from_pretrained(blip_folder)
    theirs = []
    for picture in decode_all(pictures):
        inputs = processor(picture, prefix, return_tensors="pt")
        said = model.generate(**inputs, max_new_tokens=8, num_beams=beams, do_sample=False)
        theirs.append(processor.decode(said[0], skip_special_tokens=True).strip())
    spec = Caption(model=str(blip_folder), prefix=prefix, max_new_tokens=8, num_beams=beams)
    assert spec.load()(table(pictures))["caption"].to_pylist() == theirs
    assert len(set(theirs)) > 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3, "length_penalty": 2.0},
        {"sampling": Sampling()},
        {"sampling": {"temperature": 1.5, "top_k": 0, "top_p": 0.9}, "repetition_penalty": 1.3, "min_new_tokens": 4},
    ],
)
def test_a_row_has_the_same_caption_alone(blip_folder: Path, pictures: pa.StructArray, options: Any) -> None:
    spec = Caption(model=str(blip_folder), prefix=Column(column="prefix"), max_new_tokens=12, **options)
    operator = spec.load()
    rows = table(pictures)
    together = operator(rows)["caption"].to_pylist()
    alone = [operator(rows.slice(row, 1))["caption"][0].as_py() for row in range(len(rows))]
    reversed_ = operator(rows.take(list(reversed(range(len(rows))))))["caption"].to_pylist()
    assert together == alone == reversed_[::-1]
    assert all(caption.startswith(prefix) for caption, prefix in zip(together, PREFIXES, strict=True))


def test_sampling_follows_the_row(blip_folder: Path, pictures: pa.StructArray) -> None:
    same = pa.StructArray.from_arrays(
        [pictures.field("bytes").take([0] * 6), pa.nulls(6, pa.string())], fields=list(columns.IMAGE)
    )
    operator = Caption(model=str(blip_folder), sampling=Sampling(), max_new_tokens=8).load()
    captions = operator(table(same))["caption"].to_pylist()
    assert len(set(captions)) > 3
    assert captions == operator(table(same))["caption"].to_pylist()


@pytest.mark.parametrize(("top_k", "top_p", "kept"), [(0, 1.0, 4), (2, 1.0, 2), (0, 0.6, 2)])
def test_sampling_has_the_probabilities_that_the_model_says(top_k: int, top_p: float, kept: int) -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    draws = 4000
    process = row_sampling(range(draws), temperature=1.0, top_k=top_k, top_p=top_p)
    chosen = process(torch.zeros(draws, 1, dtype=torch.long), logits.repeat(draws, 1)).argmax(1)
    shares = chosen.bincount(minlength=4) / draws
    wanted = logits.exp() * (torch.arange(4) < kept)
    torch.testing.assert_close(shares, wanted / wanted.sum(), atol=0.03, rtol=0)


def test_bad_rows_are_rejected_alone(blip_folder: Path, pictures: pa.StructArray) -> None:
    values: list[Any] = pictures.to_pylist()
    values[1], values[2]["bytes"] = None, b"text"
    prefixes: list[str | None] = [*PREFIXES[:3], None, "a " * 40, "the"]
    rows = pa.table({"image": pa.array(values, columns.IMAGE), "prefix": prefixes})
    result = Caption(model=str(blip_folder), prefix=Column(column="prefix")).load()(rows)
    codes = [error and error["code"] for error in result[columns.ERROR].to_pylist()]
    assert codes == [None, "image_missing", "image_undecodable", "value_missing", "value_invalid", None]
    assert result["caption"].is_null().to_pylist() == [code is not None for code in codes]


def test_a_caption_ends_where_the_model_does(blip_folder: Path, pictures: pa.StructArray) -> None:
    spec = Caption(model=str(blip_folder), prefix="a " * 20, max_new_tokens=100, min_new_tokens=100)
    result = spec.load()(table(pictures))
    assert result[columns.ERROR].null_count == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": {}, "num_beams": 2}, "exclude each other"),
        ({"length_penalty": 2}, "needs num_beams"),
        ({"temperature": 2}, "Extra inputs"),
        ({"sampling": {"temperature": 0}}, "greater than 0"),
        ({"num_beams": 0}, "greater than or equal to 1"),
        ({"min_new_tokens": 40}, "above max_new_tokens"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Caption(**options)
