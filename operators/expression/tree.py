"""What an expression is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A piece of an expression, and where its text begins and ends."""

    start: int
    end: int


@dataclass(frozen=True)
class Constant(Node):
    """A number, text, true or false."""

    value: float | str | bool


@dataclass(frozen=True)
class Named(Node):
    """The value that a column has in the row."""

    column: str


@dataclass(frozen=True)
class Apply(Node):
    """A function, or what an operator such as ``<`` or ``and`` stands for, of other values."""

    function: str
    operands: tuple[Node, ...]


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, in the order in which they are written."""
    yield node
    for operand in node.operands if isinstance(node, Apply) else ():
        yield from walk(operand)
