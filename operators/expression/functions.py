"""What expressions can compute: operators and functions, what they take and give, and how Arrow computes them.

A null makes what is computed of it null, but for ``is null`` and ``coalesce``, and for ``and`` and ``or`` where the
others decide (Kleene's logic of three values). Numbers are computed in double precision; integers are compared exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.base import Kind

NUMBER, TEXT, BOOLEAN, IMAGE, ANY = Kind.NUMBER, Kind.TEXT, Kind.BOOLEAN, Kind.IMAGE, Kind.VALUE

Value = Any
"""``pa.ChunkedArray`` with a value for every row, or ``pa.Scalar``."""


@dataclass(frozen=True)
class Function:
    """One thing that can be computed.

    Attributes:
        forms: what it gives, by the kinds that it takes.
        run: computes it.
        many: whether the last operand may come again, any number of times.
        literal: whether all operands but the first stand in the expression itself, and are handed to ``run`` as
            Python values.
    """

    forms: Mapping[tuple[Kind, ...], Kind]
    run: Callable[..., Value]
    many: bool = False
    literal: bool = False

    def gives(self, kinds: tuple[Kind, ...]) -> Kind | None:
        """The kind of what it gives, or None where it can't take values of such kinds."""
        return next((given for form, given in self.forms.items() if self._takes(form, kinds)), None)

    @property
    def takes(self) -> str:
        """What it takes, for a message."""
        return " or ".join(f"({', '.join(form)}{', ...' * self.many})" for form in self.forms)

    def _takes(self, form: tuple[Kind, ...], kinds: tuple[Kind, ...]) -> bool:
        asked = form + form[-1:] * (len(kinds) - len(form)) * self.many
        pairs = zip(asked, kinds, strict=False)
        return len(asked) == len(kinds) and all(one is other or ANY in (one, other) for one, other in pairs)


def _alike(one: Value, other: Value) -> tuple[Value, Value]:
    """Two values that Arrow compares as they are: integers with each other exactly, others as doubles."""
    if _is_fraction(one) or _is_fraction(other):
        return _double(one), _double(other)
    return one, other


def _is_fraction(value: Value) -> bool:
    return bool(pa.types.is_floating(value.type))


def _double(value: Value) -> Value:
    return pc.cast(value, pa.float64(), safe=False) if _is_number(value.type) else value


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind))


def _comparing(compare: Callable[..., Value]) -> Callable[[Value, Value], Value]:
    return lambda one, other: compare(*_alike(one, other))


def _computing(compute: Callable[..., Value]) -> Callable[..., Value]:
    return lambda *operands: compute(*map(_double, operands))


def _any_of(value: Value, *items: Any) -> Value:
    listed = pa.array(items)
    value, _ = _alike(value, listed)
    if _is_fraction(value) or isinstance(value, pa.Scalar):
        found = reduce(pc.or_kleene, (pc.equal(*_alike(value, pa.scalar(item))) for item in items))
    else:
        found = pc.is_in(value, value_set=listed.cast(value.type))
    return pc.if_else(pc.is_valid(value), found, pa.scalar(None, pa.bool_()))


def _measured(*_: Value) -> Value:
    raise NotImplementedError


_ORDER: Mapping[tuple[Kind, ...], Kind] = {(NUMBER, NUMBER): BOOLEAN, (TEXT, TEXT): BOOLEAN}
_EQUALITY: Mapping[tuple[Kind, ...], Kind] = {**_ORDER, (BOOLEAN, BOOLEAN): BOOLEAN}
_TWO: Mapping[tuple[Kind, ...], Kind] = {(NUMBER, NUMBER): NUMBER}
_ONE: Mapping[tuple[Kind, ...], Kind] = {(NUMBER,): NUMBER}
_LETTERS: Mapping[tuple[Kind, ...], Kind] = {(TEXT,): TEXT}
_SEARCH: Mapping[tuple[Kind, ...], Kind] = {(TEXT, TEXT): BOOLEAN}
_SAME: Mapping[tuple[Kind, ...], Kind] = {(kind, kind): kind for kind in (NUMBER, TEXT, BOOLEAN)}
_SIDE: Mapping[tuple[Kind, ...], Kind] = {(IMAGE,): NUMBER}

FUNCTIONS: dict[str, Function] = {
    "or": Function({(BOOLEAN, BOOLEAN): BOOLEAN}, lambda *given: reduce(pc.or_kleene, given), many=True),
    "and": Function({(BOOLEAN, BOOLEAN): BOOLEAN}, lambda *given: reduce(pc.and_kleene, given), many=True),
    "not": Function({(BOOLEAN,): BOOLEAN}, pc.invert),
    "is null": Function({(ANY,): BOOLEAN}, pc.is_null),
    "in": Function({(NUMBER, NUMBER): BOOLEAN, (TEXT, TEXT): BOOLEAN}, _any_of, many=True, literal=True),
    "<": Function(_ORDER, _comparing(pc.less)),
    "<=": Function(_ORDER, _comparing(pc.less_equal)),
    ">": Function(_ORDER, _comparing(pc.greater)),
    ">=": Function(_ORDER, _comparing(pc.greater_equal)),
    "==": Function(_EQUALITY, _comparing(pc.equal)),
    "!=": Function(_EQUALITY, _comparing(pc.not_equal)),
    "+": Function(_TWO, _computing(pc.add)),
    "-": Function(_TWO, _computing(pc.subtract)),
    "*": Function(_TWO, _computing(pc.multiply)),
    "/": Function(_TWO, _computing(pc.divide)),
    "negative": Function(_ONE, _computing(pc.negate)),
    "abs": Function(_ONE, _computing(pc.abs)),
    "min": Function(_TWO, _computing(lambda *given: pc.min_element_wise(*given, skip_nulls=False)), many=True),
    "max": Function(_TWO, _computing(lambda *given: pc.max_element_wise(*given, skip_nulls=False)), many=True),
    "coalesce": Function(_SAME, lambda *given: reduce(_comparing(pc.coalesce), given), many=True),
    "length": Function({(TEXT,): NUMBER}, pc.utf8_length),
    "lower": Function(_LETTERS, pc.utf8_lower),
    "upper": Function(_LETTERS, pc.utf8_upper),
    "contains": Function(_SEARCH, pc.match_substring, literal=True),
    "starts_with": Function(_SEARCH, pc.starts_with, literal=True),
    "ends_with": Function(_SEARCH, pc.ends_with, literal=True),
    "matches": Function(_SEARCH, pc.match_substring_regex, literal=True),
    "width": Function(_SIDE, _measured),
    "height": Function(_SIDE, _measured),
}
"""By name; those whose name is no word are written as operators."""
