"""Custom Diffusion: cross-attention weights and words, learnt together for things (Kumari et al. 2023)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import partial, reduce
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from operators.base import Column, Kind
from operators.controls.adapters import AdapterControl, AdapterSpec
from operators.controls.base import Touches
from operators.errors import RowError
from operators.models.adapters import AdapterFiles, AdapterRef
from operators.models.ref import ModelRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from operators.diffusion.custom_diffusion import Customised
    from operators.diffusion.family import StableDiffusion
    from operators.diffusion.vocabulary import Embedding


class CustomDiffusion(AdapterSpec):
    """Put learnt weights in the place of those of cross-attention, and learnt vectors for words like `<new1>`."""

    kind: ClassVar[str] = "custom_diffusion"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.WEIGHTS, Touches.OTHER_WEIGHTS, Touches.TEXT})
    per_row: ClassVar[dict[str, Kind]] = {"weights": Kind.TEXT}
    file_names: ClassVar[tuple[str, ...]] = ("pytorch_custom_diffusion_weights",)

    weights: AdapterRef | Column = Field(
        description="file, folder, URI or hub id of the weights, with their words in files like `<new1>.safetensors` "
        "beside them; a row in which it is empty does without"
    )
    kept: int = Field(2, ge=1, description="sets of weights kept in memory, those used last")

    @property
    def source(self) -> AdapterRef | Column:
        """Where the weights come from."""
        return self.weights

    def load(self, family: StableDiffusion, allow_pickle: bool) -> LoadedCustomDiffusion:
        """The weights, where they are the same for all rows."""
        return LoadedCustomDiffusion(self, family, allow_pickle, self.kept)


class Wanted(NamedTuple):
    """What a row asks for: weights, and the words that were learnt with them."""

    ref: ModelRef
    words: tuple[Embedding, ...]


class LoadedCustomDiffusion(AdapterControl[CustomDiffusion, Wanted | None, "Customised"]):
    """Loaded Custom Diffusion: layers stay as they are and have other weights while a batch runs."""

    def open(self, files: AdapterFiles) -> Customised:
        """The weights and words of a file."""
        from operators.diffusion.custom_diffusion import customised

        return customised(files, self.family)

    def check(self, ref: ModelRef) -> None:
        """Open the weights, and keep the words, also when the weights are let go."""
        self._words[ref] = tuple(self._opened(ref).words)

    def prepare(
        self,
        table: pa.Table,
        texts: Sequence[tuple[str, ...] | None],  # noqa: ARG002
    ) -> list[Wanted | RowError | None]:
        """Which weights every row asks for."""
        self._words: dict[ModelRef, tuple[Embedding, ...]] = {}
        return [Wanted(ref, self._words[ref]) if isinstance(ref, ModelRef) else ref for ref in self.refs(table)]

    def group(self, asked: Wanted | None) -> Hashable:
        """Rows with the same weights."""
        return asked and asked.ref

    def worded(self, asked: Wanted | None, text: str) -> str:
        """A text with names in the place of the words."""
        return reduce(lambda told, word: word.named(told), asked.words if asked else (), text)

    @contextmanager
    def installed(self, asked: Wanted | None) -> Iterator[None]:
        """The network with the weights, and texts with the words."""
        from operators.diffusion.weights import swapped

        if asked is None:
            yield
            return
        with swapped(self.opened(asked.ref).weights), self.family.wording(partial(self.worded, asked)):
            yield
