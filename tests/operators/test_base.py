"""What the base class promises of every operator, by an operator that divides numbers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from operators import KINDS, columns
from operators.base import Column, Kind, Operator, Produced, Spec, column_options, required, values
from operators.errors import ColumnError, NotFiniteError, ProcessKilledError, RowError, ValueMissingError
from operators.seeds import step_seeds
from operators.watch import Watch


class Divide(Spec):
    kind: ClassVar[str] = "divide"

    by: float | Column = Column(column="by")
    labels: tuple[str, ...] = ()
    output: str = "quotient"
    fits: int = 1000

    def reads(self) -> dict[str, Kind]:
        return {"number": Kind.NUMBER, **column_options(self, {"by": Kind.NUMBER})}

    def writes(self) -> dict[str, pa.DataType]:
        return {self.output: pa.float64(), "seed_used": pa.int64()}

    def branches(self) -> tuple[str, ...]:
        return self.labels

    def load(self, step: str | None = None, batch_rows: int = 16, device: str | None = None) -> Divider:  # noqa: ARG002
        return Divider(self, step, batch_rows)


class Divider(Operator[Divide, tuple[float, float, int]]):
    def __init__(self, spec: Divide, step: str | None = None, batch_rows: int = 16) -> None:
        super().__init__(spec, step, batch_rows)
        self.batches: list[int] = []

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[tuple[float, float, int] | RowError]:
        prepared: list[Any] = []
        for number, by, seed in zip(table["number"].to_pylist(), values(self.spec.by, table), seeds, strict=True):
            try:
                prepared.append((required(number, "number"), required(by, "by"), seed))
            except ValueMissingError as error:
                prepared.append(error)
        return prepared

    def group(self, prepared: tuple[float, float, int]) -> bool:
        return prepared[0] < 0

    def run(self, batch: list[tuple[float, float, int]]) -> Produced:
        self.batches.append(len(batch))
        if len(batch) > self.spec.fits:
            raise MemoryError("too many rows")
        quotients = [number / by for number, by, _ in batch]
        errors: dict[int, RowError] = {
            row: NotFiniteError("too big") for row, quotient in enumerate(quotients) if quotient == float("inf")
        }
        return Produced({"quotient": quotients, "seed_used": pa.array([seed for *_, seed in batch])}, errors)


def table(*pairs: tuple[float | None, float | None]) -> pa.Table:
    schema = pa.schema([("number", pa.float64()), ("by", pa.float64())])
    return pa.table(dict(zip(schema.names, map(list, zip(*pairs, strict=True)), strict=True)), schema)


def codes(result: pa.Table) -> list[str | None]:
    return [error and error["code"] for error in result[columns.ERROR].to_pylist()]


def test_rows_come_out_in_order_whatever_their_groups() -> None:
    divider = Divide().load(batch_rows=2)
    result = divider(table((1, 2), (-4, 2), (6, 2), (-8, 2), (10, 2)))
    assert result["quotient"].to_pylist() == [0.5, -2, 3, -4, 5]
    assert divider.batches == [2, 1, 2]
    assert result[columns.ROW_ID].to_pylist() == ["0", "1", "2", "3", "4"]
    assert result["seed_used"].to_pylist() == step_seeds(result[columns.SEED], "divide")


def test_a_batch_of_which_nothing_is_left_leaves_the_others_be() -> None:
    result = Divide().load(batch_rows=1)(table((1e300, 1e-300), (4, 2)))
    assert codes(result) == ["not_finite", None]
    assert result["quotient"].to_pylist() == [None, 2]


class OneByOne(Watch):
    """Has families taken alone, and some rows not at all."""

    def __init__(self, *killers: str) -> None:
        self.killers = killers
        self.seen: list[list[str]] = []

    def refused(self, row_ids: Sequence[str]) -> list[RowError | None]:
        return [ProcessKilledError("it died") if row in self.killers else None for row in row_ids]

    def pieces(self, row_ids: Sequence[str], least: int = 1) -> Iterator[slice]:
        for first in range(0, len(row_ids), least):
            self.seen.append(list(row_ids[first : first + least]))
            yield slice(first, first + least)


def test_rows_that_are_refused_are_not_tried_and_the_others_come_out_the_same() -> None:
    rows = table((1, 2), (2, 4), (3, 0), (4, 8))
    watch = OneByOne("1/divide.b", "3/divide.a", "3/divide.b")
    divider = Divide(labels=("a", "b")).load()
    result = divider(rows, watch)
    alone = divider(rows)
    failed = "operator_failed"
    assert codes(result) == [None, None, None, "process_killed", failed, failed, "process_killed", "process_killed"]
    assert result["seed_used"].to_pylist()[:3] == alone["seed_used"].to_pylist()[:3]
    families = [[f"{row}/divide.{label}" for label in "ab"] for row in range(4)]
    tried = [[row] for family in families[:3] for row in family if row != "1/divide.b"]
    assert watch.seen == families + tried


def test_only_the_failing_rows_are_rejected() -> None:
    rows = [(float(row), 1.0) for row in range(1, 9)]
    rows[3], rows[6] = (4.0, 0.0), (1e300, 1e-300)
    result = Divide().load(batch_rows=8)(table(*rows, (None, 1), (1, None)))
    assert codes(result) == [None] * 3 + ["operator_failed"] + [None] * 2 + ["not_finite", None] + ["value_missing"] * 2
    assert result["quotient"].to_pylist() == [1, 2, 3, None, 5, 6, None, 8, None, None]
    assert result[columns.ERROR][3].as_py() == {
        "step": "divide",
        "code": "operator_failed",
        "message": "ZeroDivisionError: float division by zero",
        "attempt": 1,
    }
    assert result[columns.ERROR][8]["message"].as_py() == "number is null"


def test_out_of_memory_halves_and_remembers() -> None:
    divider = Divide(fits=2).load(batch_rows=8)
    result = divider(table(*[(1.0, 1.0)] * 10))
    assert codes(result) == [None] * 10
    assert divider.batch_rows == 2
    assert divider.batches == [8, 4, 2, 2, 4, 2, 2, 2]
    divider.batches.clear()
    divider(table(*[(1.0, 1.0)] * 4))
    assert divider.batches == [2, 2]


def test_a_row_that_does_not_fit_alone_is_rejected() -> None:
    assert codes(Divide(fits=0).load()(table((1, 1), (1, 1)))) == ["out_of_memory"] * 2


def test_a_failure_of_one_row_does_not_change_the_batch_size() -> None:
    divider = Divide().load(batch_rows=4)
    divider(table((1, 1), (1, 0), (1, 1), (1, 1)))
    assert divider.batch_rows == 4


def test_a_bug_crashes_and_a_run_of_bad_rows_does_not() -> None:
    bad = table((1, 0), (2, 0))
    with pytest.raises(ZeroDivisionError):
        Divide().load()(bad)
    divider = Divide().load()
    divider(table((1, 1)))
    assert codes(divider(bad)) == ["operator_failed"] * 2


def test_branches_extend_ids_and_have_seeds_of_their_own() -> None:
    rows = table((1, 2), (3, 4)).append_column(columns.ROW_ID, pa.array(["a", "b"]))
    result = Divide(labels=("x", "y")).load("half")(rows)
    assert result[columns.ROW_ID].to_pylist() == ["a/half.x", "a/half.y", "b/half.x", "b/half.y"]
    assert result["quotient"].to_pylist() == [0.5, 0.5, 0.75, 0.75]
    assert len(set(result[columns.SEED].to_pylist())) == 4
    alone = Divide(labels=("x", "y")).load("half")(rows.slice(1))
    assert alone[columns.SEED].to_pylist() == result[columns.SEED].to_pylist()[2:]
    assert alone["seed_used"].to_pylist() == result["seed_used"].to_pylist()[2:]


def test_rows_that_failed_or_were_filtered_pass_through_once() -> None:
    first = Divide().load("first")(table((1, 0), (4, 2), (6, 2)))
    first = first.set_column(first.schema.get_field_index(columns.KEPT), columns.KEPT, pa.array([True, True, False]))
    first = first.drop_columns(["quotient", "seed_used"])
    result = Divide(labels=("x", "y")).load("second")(first)
    assert result[columns.ROW_ID].to_pylist() == ["0", "1/second.x", "1/second.y", "2"]
    assert result["quotient"].to_pylist() == [None, 2, 2, None]
    assert [error and error["step"] for error in result[columns.ERROR].to_pylist()] == ["first", None, None, None]


@pytest.mark.parametrize("labels", [(), ("x", "y")])
def test_an_empty_table_keeps_its_schema(labels: tuple[str, ...]) -> None:
    rows = table((1, 2)).slice(1)
    result = Divide(labels=labels).load()(rows)
    assert result.num_rows == 0
    assert result.schema.field("quotient").type == pa.float64()


def test_columns_pass_through_unchanged() -> None:
    rows = table((1, 2), (3, 4)).append_column("tags", pa.array([["a"], None], pa.large_list(pa.string())))
    rows = rows.replace_schema_metadata({"k": "v"})
    result = Divide().load()(rows)
    assert result.select(rows.column_names).equals(rows, check_metadata=True)


def test_a_chain_of_columns_is_checked() -> None:
    schema = pa.schema([("number", pa.float64()), ("by", pa.int32())])
    assert Divide().chain(schema).names == ["number", "by", "quotient", "seed_used"]
    with pytest.raises(ColumnError, match="there is no column 'by'; there are 'number'"):
        Divide().chain(schema.remove(1))
    with pytest.raises(ColumnError, match="column 'by' is string, but must hold number"):
        Divide().chain(schema.set(1, pa.field("by", pa.string())))
    with pytest.raises(ColumnError, match="column 'quotient' is there already"):
        Divide().chain(schema.append(pa.field("quotient", pa.int8())))
    assert Divide(by=2).chain(schema.remove(1)).names == ["number", "quotient", "seed_used"]


def test_specs_need_no_networks() -> None:
    code = (
        "import sys, operators; operators.Caption(); operators.Generate(scheduler='euler');"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(name == spec.kind for name, specs in KINDS.items() for spec in specs)
