"""What an edit goes from and to: a word, or a word with sentences that are about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from operators.models.ref import ModelRef

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


class TextModel(BaseModel):
    """Sentences about a word, written by a language model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[ModelRef, Field(description="a transformers sequence-to-sequence or causal language model")]
    instruction: Annotated[str, Field(description="what it is asked; {} stands for the word")] = (
        "Write a short English caption of a photo that shows {}."
    )
    count: Annotated[int, Field(ge=1, le=1000, description="sentences for each word")] = 64
    temperature: Annotated[float, Field(gt=0, description="above 1 for more variety")] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1, description="tokens of a sentence, at the most")] = 40

    @field_validator("instruction")
    @classmethod
    def _has_a_place(cls, instruction: str) -> str:
        if "{}" not in instruction:
            raise ValueError("the instruction needs {} where the word goes")
        return instruction


TEMPLATES = (
    "{}",
    "a {}",
    "a photo of a {}",
    "a picture of a {}",
    "a close photo of a {}",
    "a photo of one {} in the middle",
    "a small {} in a picture",
    "a large {} in a picture",
    "a drawing of a {}",
    "a bright photo of a {}",
    "a dark photo of a {}",
    "a {} on a plain background",
)
"""Sentences about any word, where nothing better is known."""


def from_templates(concept: Concept) -> tuple[str, ...]:
    """A concept's own sentences, or those that the templates make of its word."""
    if isinstance(concept, Sentences):
        return concept.sentences
    return tuple(template.format(concept) for template in TEMPLATES)
