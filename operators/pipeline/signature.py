"""What a pipeline's call takes, as its signature says it."""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin

_LISTS = (list, tuple, Sequence)


class Listing(Enum):
    """How the values of several rows are one argument."""

    NEVER = "one value is for all rows"
    MAYBE = "a row alone gives its value, several rows a list"
    ALWAYS = "a list, however many rows there are"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a pipeline's call.

    Attributes:
        default: what it is unless given; ``inspect.Parameter.empty`` where it must be.
        one: names of the types that it may be, empty where nothing says so.
        many: names of the types that it may be a list of.
    """

    default: Any
    one: frozenset[str]
    many: frozenset[str]

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty

    def listing(self, kinds: Iterable[str], unless_told: Listing) -> Listing:
        """How it takes values of several rows that are of types with such names."""
        alone, listed = not self.one.isdisjoint(kinds), not self.many.isdisjoint(kinds)
        if listed:
            return Listing.MAYBE if alone else Listing.ALWAYS
        return Listing.NEVER if alone else unless_told


def parameters_of(call: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters that a pipeline's ``__call__`` names, without ``self``."""
    try:
        signature = inspect.signature(call, eval_str=True)
    except NameError:
        signature = inspect.signature(call)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: Parameter(given.default, frozenset(_alone(given.annotation)), frozenset(_listed(given.annotation)))
        for name, given in list(signature.parameters.items())[1:]
        if given.kind in named
    }


def mistakes(parameters: dict[str, Parameter], given: Iterable[str], supplied: Iterable[str]) -> Iterator[str]:
    """What is wrong with arguments ``given`` by a user, where ``supplied`` come from elsewhere."""
    for name in given:
        if name not in parameters:
            yield f"takes no argument {name!r}{near(name, set(parameters) - set(supplied))}"
    for name, parameter in parameters.items():
        if parameter.required and name not in {*given, *supplied}:
            yield f"needs the argument {name!r}"


def near(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest that are known, or else all."""
    names = sorted(known)
    found = difflib.get_close_matches(word, names, 3)
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else f"; there are {', '.join(names)}"


def _alone(annotation: Any) -> Iterator[str]:
    if _is_union(annotation):
        for choice in get_args(annotation):
            yield from _alone(choice)
    elif isinstance(annotation, type) and annotation not in (*_LISTS, inspect.Parameter.empty):
        yield annotation.__name__


def _listed(annotation: Any) -> Iterator[str]:
    for choice in get_args(annotation) if _is_union(annotation) else (annotation,):
        if _is_union(choice):
            yield from _listed(choice)
        elif get_origin(choice) in _LISTS:
            for item in get_args(choice):
                yield from _alone(item)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)
