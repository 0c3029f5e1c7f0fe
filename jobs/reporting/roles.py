"""What a sink's columns are to who looks at rows: pictures before and after, masks, texts, scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators import columns

_MAIN = "image"
_MASK = "mask"
_OUTPUTS = ("output", "column")
"""Options that name the column that a step makes."""

Steps = Sequence[Mapping[str, Mapping[str, Any]]]
"""The steps of a run's record: each the kind and its options."""


@dataclass(frozen=True)
class Pair:
    """A picture, what it was made of, where it may differ, and the texts of both; None where there is none."""

    after: str
    before: str | None = None
    mask: str | None = None
    text: str | None = None
    """Column of what the picture before shows."""
    prompt: str | None = None
    """Column of what the picture was to show."""


@dataclass(frozen=True)
class Roles:
    """Names of columns by what they are."""

    pairs: list[Pair]
    """One for each picture that was made; of what comes in where none was."""
    pictures: list[str]
    """All of them, as they come."""
    texts: list[str]
    numbers: list[str]
    """Scores, and what else is a number: those that steps made come first."""
    flags: list[str]

    @classmethod
    def of(cls, schema: pa.Schema, steps: Steps, given: Sequence[str] = ()) -> Roles:
        """The columns of accepted rows.

        Args:
            schema: of the rows.
            steps: that made them; from their options one knows which picture was made of which.
            given: columns of the source.
        """
        rows = [field for field in schema if field.name not in columns.LINEAGE.names]
        pictures = [field.name for field in rows if columns.feature(field) == "Image"]
        texts = [field.name for field in rows if _is_text(field.type)]
        return cls(
            pairs=list(_pairs(pictures, texts, steps)),
            pictures=pictures,
            texts=texts,
            numbers=sorted((field.name for field in rows if _is_number(field.type)), key=set(given).__contains__),
            flags=[field.name for field in rows if pa.types.is_boolean(field.type)],
        )

    @property
    def needed(self) -> list[str]:
        """All columns that are shown."""
        return [*self.pictures, *self.texts, *self.numbers, *self.flags, *columns.LINEAGE.names]


def _pairs(pictures: Sequence[str], texts: Sequence[str], steps: Steps) -> Iterator[Pair]:
    options = [given for step in steps for given in step.values()]
    made = {name: given for given in options for name in _made(given) if name in pictures}
    masks = {name for name in pictures if _is_mask(name)} | {_text(given.get(_MASK)) for given in options}
    sources = [name for name in pictures if name not in masks and not _made_with(name, made)]
    first = _MAIN if _MAIN in sources else next(iter(sources), None)
    for after, given in made.items():
        if after in masks:
            continue
        beside, named = f"{after}_{_MASK}", _text(given.get(_MASK))
        prompts = [f"{after}_prompt", _text(given.get("target_prompt")), _text(given.get("prompt"))]
        yield Pair(
            after=after,
            before=_among(pictures, given.get("image"), first),
            mask=_among(pictures, beside, named),
            text=_among(texts, given.get("prompt") if f"{after}_prompt" in texts else None),
            prompt=_among(texts, *prompts),
        )
    if not made.keys() - masks:
        yield from (Pair(after=name, prompt=_among(texts, "caption", "text", "prompt")) for name in sources)


def _made(given: Mapping[str, Any]) -> list[str]:
    return [name for option in _OUTPUTS if (name := _text(given.get(option)))]


def _made_with(name: str, made: Mapping[str, Any]) -> bool:
    return any(name == output or name.startswith(f"{output}_") for output in made)


def _among(names: Sequence[str], *wanted: Any) -> str | None:
    """The first that is wanted and there."""
    return next((name for name in map(_text, wanted) if name in names), None)


def _text(option: Any) -> str | None:
    """The column that an option names, be it ``NAME`` or ``{column: NAME}``."""
    named = option.get("column") if isinstance(option, Mapping) else option
    return named if isinstance(named, str) else None


def _is_mask(name: str) -> bool:
    return name == _MASK or name.endswith(f"_{_MASK}")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
