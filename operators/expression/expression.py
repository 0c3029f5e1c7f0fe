"""An expression as a whole: its text, the columns that it reads, and its value in every row of a table."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pyarrow as pa

from operators.base import Kind
from operators.errors import RowError
from operators.expression.functions import FUNCTIONS, Value
from operators.expression.parser import located, parse
from operators.expression.tree import Apply, Constant, Named, Node, walk
from operators.images import sizes
from operators.near import meant

_KINDS = (Kind.IMAGE, Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN)


class Expression:
    """An expression over columns; it is never run as a program.

    Args:
        text: as docs/filters.md describes it.

    Raises:
        ValueError: it can't be read, or reads no column; one line that says where and why.
    """

    def __init__(self, text: str, tree: Node | None = None) -> None:
        self._whole = text
        self._tree = parse(text) if tree is None else tree
        self.text = text[self._tree.start : self._tree.end]
        if not self.columns:
            raise ValueError(f"`{self.text}` reads no column, so it is the same for all rows")

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, each once, in the order in which they are named."""
        return tuple(dict.fromkeys(node.column for node in walk(self._tree) if isinstance(node, Named)))

    def conjuncts(self) -> list[Expression]:
        """What must be true for it to be true: itself, or what is joined by ``and``; what reads no column with it."""
        tree = self._tree
        parts = tree.operands if isinstance(tree, Apply) and tree.function == "and" else (tree,)
        if any(all(not isinstance(node, Named) for node in walk(part)) for part in parts):
            return [self]
        return [Expression(self._whole, part) for part in parts]

    def kind(self, schema: pa.Schema) -> Kind:
        """What its value is, in rows of such a schema.

        Raises:
            ValueError: a column is not there, or something can't take what it is given; one line.
        """
        return _Check(self._whole, schema).kind(self._tree)

    def values(self, table: pa.Table) -> tuple[pa.ChunkedArray, dict[int, RowError]]:
        """Its value in every row, and the rows that have a picture that can't be measured, by their place."""
        evaluation = _Evaluation(table)
        value = evaluation.value(self._tree)
        return value, evaluation.errors


class _Check:
    def __init__(self, text: str, schema: pa.Schema) -> None:
        self._text = text
        self._schema = schema

    def kind(self, node: Node) -> Kind:
        match node:
            case Constant(value=bool()):
                return Kind.BOOLEAN
            case Constant(value=str()):
                return Kind.TEXT
            case Constant():
                return Kind.NUMBER
            case Named():
                return self._column(node)
            case Apply():
                return self._given(node)
        raise TypeError(node)

    def _column(self, node: Named) -> Kind:
        if node.column not in self._schema.names:
            what = f"there is no column {node.column!r}{meant(node.column, self._schema.names)}"
            raise ValueError(located(self._text, node.start, what))
        field = self._schema.field(node.column)
        return next((kind for kind in _KINDS if kind.accepts(field)), Kind.VALUE)

    def _given(self, node: Apply) -> Kind:
        function = FUNCTIONS[node.function]
        kinds = tuple(map(self.kind, node.operands))
        given = function.gives(kinds)
        if given is None or (node.function != "is null" and Kind.VALUE in kinds):
            told = ", ".join(self._shown(each, kind) for each, kind in zip(node.operands, kinds, strict=True))
            raise self._wrong(node, f"takes {function.takes}, and not ({told})")
        if function.literal and not all(isinstance(operand, Constant) for operand in node.operands[1:]):
            raise self._wrong(node, "takes text in quotes as its second value")
        if node.function == "matches":
            self._try_pattern(node)
        return given

    def _shown(self, node: Node, kind: Kind) -> str:
        text = self._text[node.start : node.end]
        if isinstance(node, Named) and kind is Kind.VALUE:
            return f"{text}: {self._schema.field(node.column).type}"
        return f"{text}: {kind}"

    def _try_pattern(self, node: Apply) -> None:
        pattern = node.operands[1]
        try:
            FUNCTIONS["matches"].run(pa.scalar(""), _literal(pattern))
        except pa.ArrowInvalid as error:
            why = str(error).removeprefix("Invalid regular expression: ")
            raise ValueError(located(self._text, pattern.start, f"this is no regular expression: {why}")) from error

    def _wrong(self, node: Apply, what: str) -> ValueError:
        return ValueError(located(self._text, node.start, f"`{node.function}` {what}"))


class _Evaluation:
    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.errors: dict[int, RowError] = {}

    def value(self, node: Node) -> Value:
        match node:
            case Constant(value=value):
                return pa.scalar(value)
            case Named(column=column):
                return _computable(self._table[column])
            case Apply(function="width" | "height" as side, operands=(Named(column=column),)):
                return self._side(column, side == "height")
            case Apply(function=name, operands=operands) if FUNCTIONS[name].literal:
                return FUNCTIONS[name].run(self.value(operands[0]), *map(_literal, operands[1:]))
            case Apply(function=name, operands=operands):
                return FUNCTIONS[name].run(*map(self.value, operands))
        raise TypeError(node)

    def _side(self, column: str, height: bool) -> pa.Array:
        found = sizes(self._table[column])
        self.errors |= {row: size for row, size in enumerate(found) if isinstance(size, RowError)}
        return pa.array([size[height] if isinstance(size, tuple) else None for size in found], pa.int64())


def _literal(node: Node) -> Any:
    if not isinstance(node, Constant):
        raise TypeError(node)
    return node.value


def _computable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of one of the types that Arrow compares with each other."""
    if pa.types.is_uint64(column.type):
        return column.cast(pa.decimal128(20, 0))
    if pa.types.is_integer(column.type):
        return column.cast(pa.int64())
    if pa.types.is_floating(column.type):
        return column.cast(pa.float64())
    return column
