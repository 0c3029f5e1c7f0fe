"""What an edit goes from and to: a word, or a word with sentences that are about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Word = Annotated[str, Field(min_length=1)]


class Sentences(BaseModel):
    """A concept as sentences about it, for methods that take the mean of their embeddings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    word: Annotated[Word, Field(description="what stands for the concept in prompts and ids")]
    sentences: Annotated[tuple[Word, ...], Field(min_length=1, description="sentences about the concept")]


Concept = Word | Sentences


def word_of(concept: Concept) -> str:
    """The word that stands for a concept."""
    return concept.word if isinstance(concept, Sentences) else concept


def labels(concepts: Sequence[Concept]) -> tuple[str, ...]:
    """Segments of row ids, one for each concept.

    Raises:
        ValueError: two concepts have the same.
    """
    found = tuple(re.sub(r"[^\w.-]+", "-", word_of(concept)).strip("-") or "edit" for concept in concepts)
    twice = [label for label in found if found.count(label) > 1]
    if twice:
        raise ValueError(f"to has {twice[0]!r} twice; rows would have the same id")
    return found
