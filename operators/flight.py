"""Rows in flight: tables with the columns that every row has between steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators import columns
from operators.errors import RowError
from operators.seeds import branch_seeds, row_seeds


def failed(table: pa.Table, step: str, errors: Mapping[int, RowError]) -> pa.Table:
    """The table with the rows at these places as failed in a step."""
    if not errors:
        return table
    told = table[columns.ERROR].to_pylist()
    for place, error in errors.items():
        told[place] = {"step": step, "code": error.code, "message": str(error), "attempt": 1}
    return replaced(table, columns.ERROR, pa.array(told, columns.ERROR_TYPE))


def replaced(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The table with another column in the place of the one of this name."""
    return table.set_column(table.schema.get_field_index(name), name, column)


def live(table: pa.Table) -> list[int]:
    """Places of the rows in flight that no step has rejected or left out."""
    there = pc.and_(pc.is_null(table[columns.ERROR]), table[columns.KEPT])
    places: list[int] = np.flatnonzero(there.to_numpy()).tolist()
    return places


def with_row_columns(table: pa.Table) -> pa.Table:
    """The table with the columns that every row in flight has."""
    rows = table.num_rows
    if columns.ROW_ID not in table.column_names:
        table = table.append_column(columns.ROW_ID, pa.array([str(row) for row in range(rows)], pa.string()))
    if columns.SEED not in table.column_names:
        table = table.append_column(columns.SEED, row_seeds(0, table[columns.ROW_ID].to_pylist()))
    if columns.ERROR not in table.column_names:
        table = table.append_column(columns.ERROR, pa.nulls(rows, columns.ERROR_TYPE))
    if columns.KEPT not in table.column_names:
        table = table.append_column(columns.KEPT, pa.repeat(True, rows))
    return table


def expanded(table: pa.Table, step: str, labels: tuple[str, ...]) -> tuple[pa.Table, pa.ChunkedArray]:
    """Every live row once per label, with the label in its id and a seed of its own; other rows once, as they are.

    Also the seeds of the rows that they came from.
    """
    if not labels:
        return table, table[columns.SEED]
    there = pc.and_(pc.is_null(table[columns.ERROR]), table[columns.KEPT]).to_pylist()
    suffixes = [f"/{step}.{label}" for label in labels]
    parents, added = [], []
    for row, alive in enumerate(there):
        parents += [row] * (len(labels) if alive else 1)
        added += suffixes if alive else [""]
    table = table.take(pa.array(parents, pa.int64()))
    inherited = table[columns.SEED]
    ids = [f"{row_id}{suffix}" for row_id, suffix in zip(table[columns.ROW_ID].to_pylist(), added, strict=True)]
    seeds = branch_seeds(table[columns.SEED], added)
    for name, column in ((columns.ROW_ID, pa.array(ids, pa.string())), (columns.SEED, seeds)):
        table = replaced(table, name, column)
    return table, inherited


def left_out(table: pa.Table, step: str, reasons: Mapping[int, str]) -> pa.Table:
    """The table with the rows at these places as left out by a step, each with the reason."""
    if not reasons:
        return table
    if columns.FILTERED not in table.column_names:
        table = table.append_column(columns.FILTERED, pa.nulls(table.num_rows, columns.FILTERED_TYPE))
    kept, told = table[columns.KEPT].to_pylist(), table[columns.FILTERED].to_pylist()
    for place, reason in reasons.items():
        kept[place], told[place] = False, {"step": step, "reason": reason}
    table = replaced(table, columns.KEPT, pa.array(kept, pa.bool_()))
    return replaced(table, columns.FILTERED, pa.array(told, columns.FILTERED_TYPE))
