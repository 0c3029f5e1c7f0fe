"""Expressions: what they mean, held against Python's own evaluation, and what is said of those that mean nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from operators import columns
from operators.base import Kind
from operators.errors import ImageError, ImageMissingError
from operators.expression import Expression
from operators.images import Encoding, encode, encode_all
from operators.models.builtin import scenes

ROWS = 40


def table(rng: random.Random, nulls: float) -> pa.Table:
    """Rows of small numbers, so that equal ones meet, and of short texts."""

    def column(draw: Callable[[], Any], kind: pa.DataType) -> pa.Array:
        return pa.array([None if rng.random() < nulls else draw() for _ in range(ROWS)], kind)

    return pa.table(
        {
            "a": column(lambda: rng.randint(-3, 3), pa.int32()),
            "b": column(lambda: rng.randint(-12, 12) / 4, pa.float32()),
            "c": column(lambda: rng.randint(0, 5), pa.uint64()),
            "t": column(lambda: "".join(rng.choices("aAb' ", k=rng.randint(0, 3))), pa.string()),
            "u": column(lambda: rng.choice(["", "a", "ab"]), pa.large_string()),
            "f": column(lambda: rng.random() < 0.5, pa.bool_()),
        }
    )


class Texts:
    """Random expressions that Python reads as they are, with as few parentheses as may be, so that binding shows."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def number(self, depth: int) -> str:
        if depth == 0:
            return self.rng.choice(["a", "b", "c", str(self.rng.randint(0, 4)), "0.25", "1e1"])
        one, other = self.number(depth - 1), self.number(self.rng.randrange(depth))
        forms = [f"{one} + {other}", f"{one} - {other}", f"{one} * {other}", f"({one}) * ({other})", f"-{one}"]
        return self.rng.choice([*forms, f"abs({one})", f"min({one}, {other})", f"max({one}, {other}, 1)"])

    def text(self) -> str:
        return self.rng.choice(["t", "u", "lower(t)", "upper(u)", "'a'", '"ab"'])

    def truth(self, depth: int) -> str:
        if depth == 0:
            return self.rng.choice([self._compared(self.number(1), self.number(1)), self._compared("t", self.text())])
        one, other = self.truth(depth - 1), self.truth(self.rng.randrange(depth))
        forms = [f"{one} and {other}", f"{one} or {other}", f"not {one}", f"({one}) and ({other})", f"not ({one})"]
        return self.rng.choice(
            [*forms, "f", f"f == ({one})", f"a in [0, 1, -2] or {one}", f"not t in ['a', 'ab'] or {one}"]
        )

    def _compared(self, one: str, other: str) -> str:
        signs = self.rng.choices(["<", "<=", ">", ">=", "==", "!="], k=2)
        return self.rng.choice([f"{one} {signs[0]} {other}", f"{one} {signs[0]} {other} {signs[1]} {one}"])


_PYTHONS = {"lower": str.lower, "upper": str.upper, "abs": abs, "min": min, "max": max}


@pytest.mark.parametrize("seed", range(60))
def test_it_means_what_python_means(seed: int) -> None:
    rows = table(random.Random(seed), nulls=0)
    text = Texts(seed).truth(3)
    expression = Expression(f"({text}) or a > 99")
    assert expression.kind(rows.schema) is Kind.BOOLEAN
    value, errors = expression.values(rows)
    given = [row | {name: float(row[name]) for name in "b"} for row in rows.to_pylist()]
    expected = [eval(text, {**_PYTHONS, "__builtins__": {}}, row) for row in given]  # noqa: S307
    assert value.to_pylist() == [bool(truth) for truth in expected]
    assert not errors


Meaning = Callable[[dict[str, Any]], Any]


class Meanings:
    """Random expressions with what they mean where values are null, put together at the same time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def number(self, depth: int) -> tuple[str, Meaning]:
        if depth == 0:
            name = self.rng.choice("abc")
            return name, lambda row: row[name]
        (one, first), (other, second) = self.number(depth - 1), self.number(depth - 1)
        sign, compute = self.rng.choice(
            [
                ("+", lambda x, y: float(x) + float(y)),
                ("-", lambda x, y: float(x) - float(y)),
                ("*", lambda x, y: float(x) * float(y)),
                ("/", lambda x, y: float(np.float64(x) / np.float64(y))),
            ]
        )
        if self.rng.random() < 0.2:
            return f"coalesce({one}, {other})", lambda row: second(row) if first(row) is None else first(row)
        return f"({one} {sign} {other})", _null_if_one_is(compute, first, second)

    def truth(self, depth: int) -> tuple[str, Meaning]:
        if depth == 0:
            (one, first), (other, second) = self.number(1), self.number(0)
            if self.rng.random() < 0.2:
                return f"{one} is null", lambda row: first(row) is None
            if self.rng.random() < 0.2:
                return "t not in ['a', 'b', 'it''s']", _null_if_one_is(lambda t: t not in ("a", "b", "it's"), _of("t"))
            return f"{one} < {other}", _null_if_one_is(lambda x, y: x < y, first, second)
        parts = [self.truth(depth - 1) for _ in range(self.rng.randint(2, 3))]
        meanings = [meaning for _, meaning in parts]
        if self.rng.random() < 0.3:
            return f"not ({parts[0][0]})", _null_if_one_is(lambda x: not x, meanings[0])
        word, deciding = self.rng.choice([("and", False), ("or", True)])

        def joined(row: dict[str, Any]) -> bool | None:
            values = [meaning(row) for meaning in meanings]
            return deciding if deciding in values else None if None in values else not deciding

        return "(" + f" {word} ".join(text for text, _ in parts) + ")", joined


def _of(name: str) -> Meaning:
    return lambda row: row[name]


def _null_if_one_is(compute: Callable[..., Any], *meanings: Meaning) -> Meaning:
    def meant(row: dict[str, Any]) -> Any:
        values = [meaning(row) for meaning in meanings]
        return None if None in values else compute(*values)

    return meant


@pytest.mark.parametrize("seed", range(60))
def test_null_is_neither_true_nor_false(seed: int) -> None:
    rows = table(random.Random(seed), nulls=0.3)
    text, meaning = Meanings(seed).truth(3)
    with np.errstate(all="ignore"):
        expected = [meaning(row) for row in rows.to_pylist()]
    assert Expression(text).values(rows)[0].to_pylist() == expected
    assert Expression(text).kind(rows.schema) is Kind.BOOLEAN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("length(s) == 5", [True, False, False]),
        ("contains(s, 'll')", [True, False, False]),
        ("starts_with(s, 'H') or ends_with(s, 'd')", [True, True, False]),
        (r"matches(s, '^\w+\s\w+$')", [False, True, False]),
        ("matches(s, '(?i)hello')", [True, False, False]),
        ("s == 'it''s'", [False, False, True]),
        ("s in [\"it's\", 'Hello']", [True, False, True]),
        ("`odd name, really` >= 2", [False, True, True]),
        ("`and` is not null AND NOT `and` == 1", [False, False, True]),
        ("big == 9007199254740993", [True, False, False]),
        ("big in [9007199254740993, 4]", [True, False, True]),
        ("big < 1e9", [False, False, True]),
        ("huge == 18446744073709551615 or huge == 3", [True, True, False]),
        ("small > 1.5", [False, True, True]),
        ("not_a_number < 1 or not_a_number >= 1", [True, False, True]),
        ("1 / zero > 1000", [True, False, False]),
        ("seen == true", [True, False, None]),
        ("seen", [True, False, None]),
        ("words is null", [False, True, False]),
        ("1 < `odd name, really` <= 2", [False, True, False]),
        ("-`odd name, really` < -1.5", [False, True, True]),
    ],
)
def test_one_by_one(text: str, expected: list[bool | None]) -> None:
    rows = pa.table(
        {
            "s": ["Hello", "big world", "it's"],
            "odd name, really": [1, 2, 3],
            "and": [1, None, 2],
            "big": [2**53 + 1, 2**53, 4],
            "huge": pa.array([2**64 - 1, 3, 4], pa.uint64()),
            "small": pa.array(np.array([1, 2, 3], np.float16)),
            "not_a_number": [0.5, math.nan, 2.0],
            "zero": [0.0, 1.0, 2.0],
            "seen": [True, False, None],
            "words": [["a"], None, []],
        }
    )
    assert Expression(text).kind(rows.schema) is Kind.BOOLEAN
    assert Expression(text).values(rows)[0].to_pylist() == expected


def test_pictures_have_a_width_and_a_height_as_they_are_seen() -> None:
    drawn = encode_all(scenes.draw([scenes.scene(0, 4)])).to_pylist()[0]["bytes"]
    from PIL import Image

    wide = Image.new("RGB", (30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    import io

    on_its_side = io.BytesIO()
    wide.save(on_its_side, "JPEG", exif=exif)
    data = [drawn, encode(wide, Encoding.WEBP), on_its_side.getvalue(), b"no picture", None]
    pictures = [{"bytes": each, "path": None} for each in data] + [None]
    rows = pa.table({"image": pa.array(pictures, columns.IMAGE)})
    value, errors = Expression("width(image) < height(image)").values(rows)
    assert value.to_pylist() == [False, False, True, None, None, None]
    assert {row: type(error) for row, error in errors.items()} == {3: ImageError, 4: ImageMissingError}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a >", "character 4: there must be a value here, and there is the end"),
        ("a = 1", "character 3: '=' is not used here; write '=='"),
        ("a && b", "character 3: '&' is not used here; write 'and'"),
        ("(a > 1", "character 7: there must be ')' here, and there is the end"),
        ("a > 1 2", "character 7: there must be an operator or the end here, and there is '2'"),
        ("a == null", "character 6: nothing equals null; write `is null` or `is not null`"),
        ("a is 3", "character 6: there must be 'null' here, and there is '3'"),
        ("t == 'a", "character 6: there is no ' at the end of what begins here"),
        ("lenth(t) > 1", "character 1: there is no function 'lenth'; did you mean 'length'?"),
        ("t.size > 1", "character 2: '.size' can't be read; a column with such a name stands in backticks: `a column`"),
        ("a in [b]", "character 7: a list holds numbers or texts only"),
        ("__import__('os') == a", "character 1: there is no function '__import__'; there are abs, "),
        ("(lambda: 0)()", "character 8: ':' can't be read"),
        ("1 < 2", "`1 < 2` reads no column"),
        ("(" * 40 + "a" + ")" * 40, "more than 32 levels lie in each other"),
        ("not " * 40 + "f", "more than 32 levels lie in each other"),
        ("a > 1 and " * 300 + "f", "words and signs; 500 are allowed"),
        ("a" * 5000, "has 5000 characters; 4000 are allowed"),
        ("", "character 1: there must be a value here, and there is the end"),
    ],
)
def test_what_is_no_expression_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        Expression(text)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("clip_directon > 0.2", "character 1: there is no column 'clip_directon'; did you mean 'clip_direction'?"),
        ("a > 'x'", "`>` takes (number, number) or (text, text), and not (a: number, 'x': text)"),
        ("a + t > 1", "`+` takes (number, number), and not (a: number, t: text)"),
        ("a and f", "`and` takes (true or false, true or false, ...), and not (a: number, f: true or false)"),
        ("(a < 1) < 2", "`<` takes (number, number) or (text, text), and not (a < 1: true or false, 2: number)"),
        ("a in [1, 'x']", "`in` takes (number, number, ...) or (text, text, ...), and not "),
        ("when > 3", "and not (when: timestamp[s], 3: number)"),
        ("contains(t, u)", "`contains` takes text in quotes as its second value"),
        ("matches(t, '(')", "character 12: this is no regular expression: missing ): ("),
        ("width(t) > 3", "`width` takes (image), and not (t: text)"),
        ("abs(a, a) > 3", "`abs` takes (number), and not (a: number, a: number)"),
    ],
)
def test_what_does_not_fit_the_columns_is_told_in_one_line(text: str, told: str) -> None:
    kinds = {"clip_direction": pa.float32(), "when": pa.timestamp("s")}
    schema = pa.schema([*table(random.Random(0), 0).schema, *kinds.items()])
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        Expression(text).kind(schema)
    assert told in str(caught.value)
