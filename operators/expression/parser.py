"""From text to tree, by recursive descent: nothing is evaluated, and what is not in this grammar is an error.

::

    either     = both {"or" both}
    both       = negated {"and" negated}
    negated    = "not" negated | comparison
    comparison = sum [{("<" | "<=" | ">" | ">=" | "==" | "!=") sum} | "is" ["not"] "null" | ["not"] "in" list]
    list       = "[" constant {"," constant} "]"
    sum        = product {("+" | "-") product}
    product    = signed {("*" | "/") signed}
    signed     = "-" signed | value
    value      = number | text | "true" | "false" | column | function "(" either {"," either} ")" | "(" either ")"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from operators.expression.functions import FUNCTIONS
from operators.expression.tree import Apply, Constant, Named, Node
from operators.near import meant

MOST_CHARACTERS = 4000
_MOST_TOKENS = 500
_DEEPEST = 32
_SHOWN = 60
_TOO_LARGE = 2**63
"""Integers from this on are taken as fractions."""

_WORDS = frozenset(["and", "or", "not", "in", "is", "null", "true", "false"])
_COMPARISONS = frozenset(["<", "<=", ">", ">=", "==", "!="])
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
    |(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<column>`[^`]+`)
    |(?P<word>[^\W\d]\w*)
    |(?P<sign><=|>=|==|!=|[-+*/<>()\[\],])
    |(?P<end>\Z)
    )""",
    re.VERBOSE,
)
_INSTEAD = {"=": "==", "&": "and", "|": "or", "!": "not", "<>": "!="}
"""What other languages write, and this one doesn't."""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int

    @property
    def shown(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


def parse(text: str) -> Node:
    """Read an expression.

    Raises:
        ValueError: it is none; one line that says where it goes wrong.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"the expression has {len(text)} characters; {MOST_CHARACTERS} are allowed")
    tokens = _tokens(text)
    if len(tokens) > _MOST_TOKENS:
        raise ValueError(f"the expression has {len(tokens)} words and signs; {_MOST_TOKENS} are allowed")
    return _Parser(text, tokens).whole()


def located(text: str, at: int, what: str) -> str:
    """A line about something in an expression; of a long one, its surroundings are shown."""
    first, last = max(at - _SHOWN, 0), at + _SHOWN
    shown = f"{'...' * (first > 0)}{text[first:last]}{'...' * (last < len(text))}"
    return f"in `{' '.join(shown.split())}`, character {at + 1}: {what}"


def written(column: str) -> str:
    """A column's name as expressions have it."""
    plain = re.fullmatch(r"[^\W\d]\w*", column) and column.lower() not in _WORDS
    return column if plain else f"`{column}`"


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while not tokens or tokens[-1].kind != "end":
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise ValueError(_unreadable(text, at))
        kind, at = found.lastgroup, found.end()
        word = found[kind]
        if kind == "word" and word.lower() in _WORDS:
            kind, word = "sign", word.lower()
        tokens.append(_Token(kind, word, found.start(found.lastgroup), at))
    return tokens


def _unreadable(text: str, at: int) -> str:
    at += len(text[at:]) - len(text[at:].lstrip())
    sign = text[at]
    if sign in "'\"`":
        return located(text, at, f"there is no {sign} at the end of what begins here")
    if sign in _INSTEAD:
        return located(text, at, f"{sign!r} is not used here; write {_INSTEAD[sign]!r}")
    word = text[at:].split()[0]
    return located(text, at, f"{word!r} can't be read; a column with such a name stands in backticks: `a column`")


class _Parser:
    def __init__(self, text: str, tokens: Sequence[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._either()
        if self._next.kind != "end":
            raise self._wrong("there must be an operator or the end here")
        return node

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _taken(self, *signs: str) -> _Token | None:
        """The next token, if it is one of these signs."""
        token = self._next
        if token.kind != "sign" or token.text not in signs:
            return None
        self._at += 1
        return token

    def _expect(self, sign: str) -> _Token:
        token = self._taken(sign)
        if token is None:
            raise self._wrong(f"there must be {sign!r} here")
        return token

    def _wrong(self, what: str) -> ValueError:
        return ValueError(located(self._text, self._next.start, f"{what}, and there is {self._next.shown}"))

    def _deeper(self, read: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(located(self._text, self._next.start, f"more than {_DEEPEST} levels lie in each other"))
        node = read()
        self._depth -= 1
        return node

    def _joined(self, word: str, read: Callable[[], Node]) -> Node:
        operands = [read()]
        while self._taken(word):
            operands.append(read())
        return _all_of(word, operands)

    def _either(self) -> Node:
        return self._joined("or", self._both)

    def _both(self) -> Node:
        return self._joined("and", self._negated)

    def _negated(self) -> Node:
        word = self._taken("not")
        if word is None:
            return self._comparison()
        operand = self._deeper(self._negated)
        return Apply(word.start, operand.end, "not", (operand,))

    def _comparison(self) -> Node:
        left = self._sum()
        if self._taken("is"):
            negated = self._taken("not")
            end = self._expect("null").end
            return _unless(Apply(left.start, end, "is null", (left,)), negated)
        negated = self._taken("not")
        if negated or self._next.text == "in":
            self._expect("in")
            return _unless(self._membership(left), negated)
        pairs: list[Node] = []
        while sign := self._taken(*_COMPARISONS):
            right = self._sum()
            pairs.append(Apply(left.start, right.end, sign.text, (left, right)))
            left = right
        return _all_of("and", pairs) if pairs else left

    def _membership(self, left: Node) -> Apply:
        self._expect("[")
        items = [self._item()]
        while self._taken(","):
            items.append(self._item())
        return Apply(left.start, self._expect("]").end, "in", (left, *items))

    def _item(self) -> Node:
        item = self._signed()
        if isinstance(item, Constant):
            return item
        raise ValueError(located(self._text, item.start, "a list holds numbers or texts only"))

    def _sum(self) -> Node:
        return self._chained(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._chained(("*", "/"), self._signed)

    def _chained(self, signs: tuple[str, ...], read: Callable[[], Node]) -> Node:
        node = read()
        while sign := self._taken(*signs):
            right = read()
            node = Apply(node.start, right.end, sign.text, (node, right))
        return node

    def _signed(self) -> Node:
        sign = self._taken("-")
        if sign is None:
            return self._value()
        operand = self._deeper(self._signed)
        if isinstance(operand, Constant) and isinstance(operand.value, int | float):
            return Constant(sign.start, operand.end, -operand.value)
        return Apply(sign.start, operand.end, "negative", (operand,))

    def _value(self) -> Node:
        token = self._next
        if self._taken("("):
            node = self._deeper(self._either)
            self._expect(")")
            return node
        if self._taken("null"):
            raise ValueError(located(self._text, token.start, "nothing equals null; write `is null` or `is not null`"))
        if word := self._taken("true", "false"):
            return Constant(word.start, word.end, word.text == "true")
        readers = {"number": _number, "text": _quoted, "column": _in_backticks, "word": self._column_or_function}
        if token.kind not in readers:
            raise self._wrong("there must be a value here")
        self._at += 1
        return readers[token.kind](token)

    def _column_or_function(self, word: _Token) -> Node:
        if not self._taken("("):
            return Named(word.start, word.end, word.text)
        if word.text not in FUNCTIONS or not word.text.isidentifier():
            known = sorted(name for name in FUNCTIONS if name.isidentifier() and name not in _WORDS)
            what = f"there is no function {word.text!r}{meant(word.text, known)}"
            raise ValueError(located(self._text, word.start, what))
        operands = [self._deeper(self._either)]
        while self._taken(","):
            operands.append(self._deeper(self._either))
        return Apply(word.start, self._expect(")").end, word.text, tuple(operands))


def _all_of(word: str, operands: Sequence[Node]) -> Node:
    if len(operands) == 1:
        return operands[0]
    return Apply(operands[0].start, operands[-1].end, word, tuple(operands))


def _unless(node: Apply, negated: _Token | None) -> Node:
    return Apply(node.start, node.end, "not", (node,)) if negated else node


def _number(token: _Token) -> Node:
    whole = token.text.isdecimal() and int(token.text) < _TOO_LARGE
    return Constant(token.start, token.end, int(token.text) if whole else float(token.text))


def _quoted(token: _Token) -> Node:
    quote = token.text[0]
    return Constant(token.start, token.end, token.text[1:-1].replace(quote * 2, quote))


def _in_backticks(token: _Token) -> Node:
    return Named(token.start, token.end, token.text[1:-1])
