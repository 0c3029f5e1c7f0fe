"""``filter``: keep rows for which an expression over their columns is true, or the best of each source row."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, field_validator, model_validator

from operators import columns
from operators.base import Kind, Spec
from operators.errors import ColumnError, RowError
from operators.expression import Expression, written
from operators.near import meant
from operators.selector import Selector, families

Places = NDArray[np.intp]

_GROUPING = (Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN)


class Preset(StrEnum):
    """A rule by which a published dataset was made."""

    INSTRUCT_PIX2PIX = "instruct_pix2pix"
    """Brooks et al. 2022, section 3.1: how well both pictures fit their captions, the edit the change of captions, and
    the pictures each other; then the best few of each pair of captions."""


_PRESETS: dict[str, dict[str, Any]] = {
    Preset.INSTRUCT_PIX2PIX: {
        "at_least": {"clip_source": 0.2, "clip_target": 0.2, "clip_direction": 0.2, "clip_image": 0.7},
        "top": 4,
        "by": "clip_direction",
    }
}


class Filter(Spec):
    """Keep rows for which an expression is true, or the best rows of each source row."""

    kind: ClassVar[str] = "filter"
    short: ClassVar[str | None] = "expression"

    expression: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="what must be true of a row, as in `clip_direction > 0.2 and length(caption) < 80`"
    )
    at_least: dict[str, FiniteFloat | None] = Field(
        {}, description="columns of numbers, and the least that each must be; null takes back what a preset asks for"
    )
    top: Annotated[int, Field(ge=1)] | None = Field(
        None, description="of what is left, keep so many rows of each source row: those with the largest `by`"
    )
    by: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="with `top`: the column, or expression as in `-structure`, that is largest in the best rows"
    )
    per: Annotated[str, Field(min_length=1)] = Field(
        columns.SOURCE_ID,
        description="with `top`: column by which a source row's rows are grouped; so many are kept of each group",
    )
    preset: Preset | None = Field(
        None, description="`instruct_pix2pix`: at_least, top and by as for that dataset, where no others are given"
    )

    @model_validator(mode="before")
    @classmethod
    def _preset_in_full(cls, given: Any) -> Any:
        name = given.get("preset") if isinstance(given, Mapping) else None
        rule = _PRESETS.get(name) if isinstance(name, str) else None
        if rule is None:
            return given
        least = given.get("at_least", {})
        return {**rule, **given, "at_least": rule["at_least"] | least if isinstance(least, dict) else least}

    @field_validator("expression", "by")
    @classmethod
    def _can_be_read(cls, text: str | None) -> str | None:
        if text is not None:
            Expression(text)
        return text

    @field_validator("at_least")
    @classmethod
    def _can_be_named(cls, least: dict[str, float | None]) -> dict[str, float | None]:
        for name in least:
            if not name or "`" in name:
                raise ValueError(f"{name!r} is no name of a column that can be compared")
        return least

    @model_validator(mode="after")
    def _says_what_to_keep(self) -> Self:
        if self.top is None and not self.conditions:
            raise ValueError("say what to keep: give `expression`, `at_least`, `top` with `by`, or `preset`")
        if self.top is None and self.preset is None and {"by", "per"} & self.model_fields_set:
            raise ValueError("`by` and `per` go with `top`; give how many rows are to be kept")
        if self.top is not None and self.by is None:
            raise ValueError("`top` needs `by`: the column, or expression, that is largest in the best rows")
        return self

    @cached_property
    def conditions(self) -> tuple[Expression, ...]:
        """What must be true of a row, each by itself."""
        least = [f"{written(name)} >= {value!r}" for name, value in self.at_least.items() if value is not None]
        given = [] if self.expression is None else Expression(self.expression).conjuncts()
        return (*map(Expression, least), *given)

    @cached_property
    def order(self) -> Expression | None:
        """What is largest in the best rows, if only those are kept."""
        return None if self.top is None or self.by is None else Expression(self.by)

    def reads(self) -> dict[str, Kind]:
        """The columns that expressions name, but for those that every row has."""
        expressions = [*self.conditions, *([self.order] if self.order else [])]
        named = [name for each in expressions for name in each.columns] + [self.per] * (self.order is not None)
        return {name: Kind.VALUE for name in named if name not in columns.LINEAGE.names}

    def writes(self) -> dict[str, pa.DataType]:
        """None."""
        return {}

    def chain(self, schema: pa.Schema, where: str = "") -> pa.Schema:
        """The same schema; errors as in :meth:`Spec.chain`, and where an expression doesn't fit the columns."""
        there = pa.schema([*schema, *(field for field in columns.LINEAGE if field.name not in schema.names)])
        for condition in self.conditions:
            _refuse_another(condition, Kind.BOOLEAN, there, where)
        if self.order is not None:
            _refuse_another(self.order, Kind.NUMBER, there, where)
            if self.per not in there.names:
                raise ColumnError(f"`per`: there is no column {self.per!r}{meant(self.per, there.names)}", where)
            if not any(kind.accepts(there.field(self.per)) for kind in _GROUPING):
                raise ColumnError(f"`per`: rows can't be grouped by {self.per!r}, {there.field(self.per).type}", where)
        return schema

    def alone(self) -> str:
        """There is nothing to choose from."""
        chooses = self.top is not None and self.preset is None
        return "`top` is for the rows that a source row became, and no step before makes several" * chooses

    def load(
        self,
        step: str | None = None,
        batch_rows: int = 16,
        device: str | None = None,  # noqa: ARG002
        compiled: bool = False,  # noqa: ARG002
    ) -> Filtering:
        """The filter; there is nothing to be loaded."""
        return Filtering(self, step, batch_rows)


def _refuse_another(expression: Expression, wanted: Kind, schema: pa.Schema, where: str) -> None:
    try:
        kind = expression.kind(schema)
    except ValueError as error:
        raise ColumnError(str(error), where) from error
    if kind is not wanted:
        raise ColumnError(f"`{expression.text}` must be {wanted.value}, and is {kind.value}", where)


class Filtering(Selector[Filter]):
    """A filter at work."""

    def judge(self, rows: pa.Table) -> tuple[dict[int, str], dict[int, RowError]]:
        """One condition after another, each for the rows of which the ones before are true; then the best of these."""
        reasons: dict[int, str] = {}
        errors: dict[int, RowError] = {}
        left: Places = np.arange(rows.num_rows)
        for condition in self.spec.conditions:
            left, value = _judged(condition, rows, left, errors)
            true = value.fill_null(False).to_numpy(zero_copy_only=False).astype(bool)
            null = value.is_null().to_numpy(zero_copy_only=False)
            for place, unknown in zip(left[~true], null[~true], strict=True):
                reasons[int(place)] = f"{condition.text} is {'null' if unknown else 'false'}"
            left = left[true]
        if self.spec.order is not None:
            reasons |= self._all_but_the_best(rows, left, self.spec.order, errors)
        return reasons, errors

    def _all_but_the_best(
        self, rows: pa.Table, left: Places, order: Expression, errors: dict[int, RowError]
    ) -> dict[int, str]:
        left, value = _judged(order, rows, left, errors)
        known = pc.fill_null(value.cast(pa.float64(), safe=False), float("nan")).to_numpy(zero_copy_only=False)
        unknown = np.isnan(known)
        reasons = {int(place): f"{order.text} is null" for place in left[unknown]}
        left, known = left[~unknown], known[~unknown]
        rows = rows.take(pa.array(left, pa.int64()))
        by_family = families(rows)
        groups = _coded(by_family) if self.spec.per == columns.SOURCE_ID else _coded(by_family, rows[self.spec.per])
        last = left[_ranks(groups, known, rows[columns.ROW_ID].to_pylist()) >= (self.spec.top or 0)]
        return reasons | {int(place): f"not among the {self.spec.top} largest of {order.text}" for place in last}


def _judged(
    expression: Expression, rows: pa.Table, left: Places, errors: dict[int, RowError]
) -> tuple[Places, pa.Array]:
    """The rows that can be judged, and the expression's values in these."""
    value, failed = expression.values(rows.take(pa.array(left, pa.int64())))
    errors |= {int(left[row]): error for row, error in failed.items()}
    sound = np.array([row not in failed for row in range(len(left))], bool)
    whole = value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value
    return left[sound], whole.filter(pa.array(sound))


def _coded(*given: pa.ChunkedArray) -> NDArray[np.int64]:
    """A number for each row, the same where all of these columns are; null is a value of its own."""
    codes = np.zeros(len(given[0]), np.int64)
    for column in given:
        encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
        codes = codes * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy()
    return codes


def _ranks(groups: NDArray[np.int64], scores: NDArray[np.float64], ids: list[str]) -> NDArray[np.int64]:
    """Each row's rank in its group, from 0, the largest score first; of equal ones, the one whose id comes first."""
    order = np.lexsort((np.array(ids, str), -scores, groups))
    of_order = groups[order]
    first = np.flatnonzero(np.append(True, of_order[1:] != of_order[:-1])[: len(order)])
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - np.repeat(first, np.diff(np.append(first, len(order))))
    return ranks
