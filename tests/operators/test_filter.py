"""Which rows a filter keeps, what it says of the others, and what is refused before anything starts."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators import Filter, columns
from operators.errors import ColumnError, ValueInvalidError
from operators.filter import Preset
from operators.flight import failed, left_out, with_row_columns


def kept(spec: Filter, rows: pa.Table) -> tuple[list[str], dict[str, str]]:
    """Ids of the rows that are kept, and why the others are not."""
    spec.chain(rows.schema)
    done = spec.load(step="chosen")(rows)
    ids, told = done[columns.ROW_ID].to_pylist(), done[columns.KEPT].to_pylist()
    reasons = {}
    if columns.FILTERED in done.column_names:
        filtered = dict(zip(ids, done[columns.FILTERED].to_pylist(), strict=True))
        assert {each["step"] for each in filtered.values() if each} == {"chosen"}
        reasons = {row: each["reason"] for row, each in filtered.items() if each}
    assert {row for row, there in zip(ids, told, strict=True) if not there} == reasons.keys()
    return [row for row, there in zip(ids, told, strict=True) if there], reasons


def family(rows: dict[str, list[Any]], **more: list[Any]) -> pa.Table:
    """Rows of source rows, given as scores by source id."""
    flat = [(source, f"{source}/{at}", score) for source, scores in rows.items() for at, score in enumerate(scores)]
    sources, ids, scores = (list(each) for each in zip(*flat, strict=True))
    return pa.table({columns.SOURCE_ID: sources, columns.ROW_ID: ids, "score": pa.array(scores, pa.float32()), **more})


def test_each_condition_that_is_not_true_is_the_reason() -> None:
    rows = pa.table({"a": [1.0, 0.1, None, 5.0], "t": ["x", "y", "x", None]})
    ids, reasons = kept(Filter(expression="a > 0.5 and t == 'x'"), rows)
    assert ids == ["0"]
    assert reasons == {"1": "a > 0.5 is false", "2": "a > 0.5 is null", "3": "t == 'x' is null"}


def test_rows_that_failed_or_were_left_out_before_stay_as_they_are() -> None:
    rows = with_row_columns(pa.table({"a": [1, 2, 3, 4]}))
    rows = left_out(failed(rows, "before", {0: ValueInvalidError("bad")}), "before", {1: "so"})
    done = Filter(expression="a > 3").load()(rows)
    assert done.num_rows == 4
    assert [error and error["step"] for error in done[columns.ERROR].to_pylist()] == ["before", None, None, None]
    assert done[columns.KEPT].to_pylist() == [True, False, False, True]
    assert [told and told["step"] for told in done[columns.FILTERED].to_pylist()] == [None, "before", "filter", None]


def test_a_picture_that_cannot_be_read_fails_its_row_and_only_where_it_is_looked_at() -> None:
    picture = {"bytes": b"none", "path": None}
    rows = pa.table({"look": [True, False], "image": pa.array([picture, picture], columns.IMAGE)})
    done = Filter(expression="look and width(image) > 3").load()(rows)
    assert [error and error["code"] for error in done[columns.ERROR].to_pylist()] == ["image_undecodable", None]
    assert done[columns.KEPT].to_pylist() == [True, False]
    assert done[columns.FILTERED].to_pylist()[1]["reason"] == "look is false"


def test_the_best_rows_of_each_source_row_are_kept() -> None:
    rows = family({"p": [0.1, 0.4, 0.3], "q": [0.2], "r": [None, 0.5, float("nan")]})
    ids, reasons = kept(Filter(top=2, by="score"), rows)
    assert ids == ["p/1", "p/2", "q/0", "r/1"]
    assert reasons == {"p/0": "not among the 2 largest of score", "r/0": "score is null", "r/2": "score is null"}
    assert kept(Filter(top=1, by="-score"), rows)[0] == ["p/0", "q/0", "r/1"]
    assert kept(Filter(top=1, by="score", expression="score < 0.4"), rows)[0] == ["p/2", "q/0"]
    assert kept(Filter(top=2, by="score"), rows.drop_columns(columns.SOURCE_ID))[0] == ["p/1", "r/1"]


def test_of_equal_rows_the_one_whose_id_comes_first_is_best() -> None:
    rows = family({"p": [0.5] * 5}).take(pa.array([3, 1, 4, 0, 2]))
    assert sorted(kept(Filter(top=2, by="score"), rows)[0]) == ["p/0", "p/1"]


def test_so_many_are_kept_for_each_value_of_a_column() -> None:
    rows = family({"p": [1, 2, 3, 4, 5], "q": [6, 7]}, target=["a", "b", "a", None, None, "a", "b"])
    assert kept(Filter(top=1, by="score", per="target"), rows)[0] == ["p/1", "p/2", "p/4", "q/0", "q/1"]


@pytest.mark.parametrize("seed", range(10))
def test_the_best_are_those_that_sorting_finds_in_any_order_of_rows(seed: int) -> None:
    rng = random.Random(seed)
    scores = {f"s{at}": [rng.choice([None, 1, 2, 3]) for _ in range(rng.randint(1, 6))] for at in range(8)}
    rows = family(scores)
    expected = {
        f"{source}/{at}"
        for source, given in scores.items()
        for at in sorted((at for at in range(len(given)) if given[at] is not None), key=lambda at: (-given[at], at))[:2]
    }
    order = rng.sample(range(rows.num_rows), rows.num_rows)
    assert set(kept(Filter(top=2, by="score"), rows.take(pa.array(order)))[0]) == expected


def scored(**changes: float | None) -> dict[str, float | None]:
    return {"clip_source": 0.21, "clip_target": 0.25, "clip_direction": 0.3, "clip_image": 0.8} | changes


def test_the_rule_of_instruct_pix2pix() -> None:
    rows = [scored(clip_direction=0.2 + at / 100) for at in range(6)]
    rows += [scored(clip_image=0.6), scored(clip_source=0.1), scored(clip_target=None), scored(clip_direction=0.1)]
    table = pa.Table.from_pylist(rows, pa.schema([(name, pa.float32()) for name in scored()]))
    table = table.append_column(columns.SOURCE_ID, pa.repeat("p", len(rows)))
    ids, reasons = kept(Filter(preset=Preset.INSTRUCT_PIX2PIX), table)
    assert ids == ["2", "3", "4", "5"]
    assert reasons["6"] == "clip_image >= 0.7 is false"
    assert reasons["8"] == "clip_target >= 0.2 is null"
    changed = Filter(preset="instruct_pix2pix", at_least={"clip_image": 0.5, "clip_source": None}, top=9)
    assert kept(changed, table)[0] == ["0", "1", "2", "3", "4", "5", "6", "7"]
    assert Filter.model_validate(changed.model_dump(mode="json")) == changed


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "say what to keep: give `expression`, `at_least`, `top` with `by`, or `preset`"),
        ({"at_least": {"a": None}}, "say what to keep"),
        ({"top": 3}, "`top` needs `by`"),
        ({"expression": "a > 1", "by": "a"}, "`by` and `per` go with `top`"),
        ({"expression": "a > 1", "per": "a"}, "`by` and `per` go with `top`"),
        ({"at_least": {"a`b": 1}}, "'a`b' is no name of a column"),
        ({"top": 3, "by": "a +"}, "there must be a value here"),
    ],
)
def test_options_that_say_nothing_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Filter.model_validate(options)
    assert told in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            Filter(expression="b > 1"),
            "steps.1.filter: in `b > 1`, character 1: there is no column 'b'; there are a, ",
        ),
        (Filter(expression="a and a > 1"), "`a` must be true or false, and is number"),
        (Filter(expression="a + 1"), "`a + 1` must be true or false, and is number"),
        (Filter(top=1, by="t"), "`t` must be number, and is text"),
        (Filter(top=1, by="a", per="s"), "`per`: there is no column 's'"),
        (Filter(top=1, by="a", per="words"), "`per`: rows can't be grouped by 'words', list<"),
        (Filter(at_least={"odd name": 1}), "there is no column 'odd name'"),
    ],
)
def test_what_does_not_fit_the_columns_is_refused(spec: Filter, told: str) -> None:
    schema = pa.schema([("a", pa.int64()), ("t", pa.string()), ("words", pa.list_(pa.string()))])
    with pytest.raises(ColumnError) as caught:
        spec.chain(schema, "steps.1.filter")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_every_row_has_can_be_asked_for() -> None:
    spec = Filter(expression="row_id != '1' and a > 0")
    assert list(spec.reads()) == ["a"]
    assert kept(spec, pa.table({"a": [1, 2, 3]}))[0] == ["0", "2"]
