"""Prompt weighting: texts that say how much their parts count, through compel."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from operators.controls.base import Control, ControlSpec, Touches
from operators.errors import ModelError, RowError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import pyarrow as pa

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion


class PromptWeighting(ControlSpec):
    """Read `word++`, `word--`, `(some words)1.3`, `(some words:1.3)` and `("a", "b").blend(0.7, 0.3)` in all texts."""

    kind: ClassVar[str] = "prompt_weighting"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.TEXT, Touches.TOKENS})

    long_prompts: bool = Field(
        False,
        description="read what is beyond the text encoder's tokens too, in chunks; rows of one batch have as many",
    )

    def load(self, family: StableDiffusion, allow_pickle: bool) -> WeightedPrompts:  # noqa: ARG002
        """There is nothing to load but compel."""
        if find_spec("compel") is None:
            raise ModelError("prompt_weighting needs another package: pip install 'latentmill[weighting]'")
        return WeightedPrompts(self, family)


class WeightedPrompts(Control[PromptWeighting, int]):
    """Loaded prompt weighting: what is known of a row is how often the encoder's tokens its longest text takes."""

    reads_all_texts: ClassVar[bool] = True

    def __init__(self, spec: PromptWeighting, family: StableDiffusion) -> None:
        from operators.diffusion.weighting import Weighting

        super().__init__(spec, family)
        self._weighting = Weighting(family, spec.long_prompts)

    def prepare(self, table: pa.Table, texts: Sequence[tuple[str, ...] | None]) -> list[int | RowError]:  # noqa: ARG002
        """Parse all texts of every row."""
        distinct = dict.fromkeys(text for row in texts if row is not None for text in row)
        chunks = {text: self._chunks(text) for text in distinct}
        return [_most([chunks[text] for text in row or ()]) for row in texts]

    def group(self, asked: int) -> Hashable:
        """Rows whose texts take as many tokens."""
        return asked

    def installed(self, asked: int) -> AbstractContextManager[None]:
        """Texts are encoded with their weights, all of one length."""
        weighting = self._weighting
        key = (self.spec.kind, self.spec.long_prompts, asked)
        return self.family.encoding(key, partial(weighting.encode, chunks=asked), weighting.left_out)

    def join(self, denoising: Denoising, asked: list[int]) -> None:
        """Only the texts are encoded otherwise."""

    def _chunks(self, text: str) -> int | RowError:
        try:
            with self.family.vocabulary.reading(self.family, [text]) as (read,):
                return self._weighting.chunks(read)
        except RowError as error:
            return error


def _most(chunks: list[Any]) -> int | RowError:
    return next(
        (one for one in chunks if isinstance(one, RowError)), max([1, *(n for n in chunks if isinstance(n, int))])
    )
