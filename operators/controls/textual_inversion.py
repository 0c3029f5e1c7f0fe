"""Textual inversion: words for what is only known by pictures (Gal et al. 2023)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from operators.base import Column, Kind
from operators.controls.adapters import AdapterControl, AdapterSpec
from operators.controls.base import Touches
from operators.errors import RowError
from operators.models.adapters import AdapterFiles, AdapterRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from operators.diffusion.family import StableDiffusion
    from operators.diffusion.vocabulary import Embedding

_KEPT = 256


class TextualInversion(AdapterSpec):
    """Give a word of the prompts a meaning that was learnt of pictures."""

    kind: ClassVar[str] = "textual_inversion"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.TEXT})
    per_row: ClassVar[dict[str, Kind]] = {"embedding": Kind.TEXT}
    repeatable: ClassVar[bool] = True
    file_names: ClassVar[tuple[str, ...]] = ("learned_embeds",)

    embedding: AdapterRef | Column = Field(
        description="file, folder, URI or hub id of the learnt vectors; a row in which it is empty does without"
    )
    token: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="what stands for it in texts; the file's own unless given"
    )

    @property
    def source(self) -> AdapterRef | Column:
        """Where the vectors come from."""
        return self.embedding

    def load(self, family: StableDiffusion, allow_pickle: bool) -> LoadedTextualInversion:
        """The vectors, where they are the same for all rows."""
        return LoadedTextualInversion(self, family, allow_pickle, _KEPT)


class LoadedTextualInversion(AdapterControl[TextualInversion, "Embedding | None", "Embedding"]):
    """Loaded textual inversion: what a row asks for is its embedding.

    Rows with other embeddings for the same word share a batch: on its way to the text encoder, a text has a name in the
    place of the word that no other embedding has.
    """

    def open(self, files: AdapterFiles) -> Embedding:
        """The vectors of a file in the format of diffusers, of Automatic1111, or of Stable Diffusion XL."""
        from operators.diffusion.learned import embedding

        return self.family.vocabulary.learn(embedding(files, files.path, self.family, self.spec.token))

    def prepare(
        self,
        table: pa.Table,
        texts: Sequence[tuple[str, ...] | None],  # noqa: ARG002
    ) -> list[Embedding | RowError | None]:
        """The embedding of every row."""
        return [ref if ref is None or isinstance(ref, RowError) else self._opened(ref) for ref in self.refs(table)]

    def worded(self, asked: Embedding | None, text: str) -> str:
        """A text with the embedding's name in the place of the word."""
        return text if asked is None else asked.named(text)

    def installed(self, asked: Embedding | None) -> AbstractContextManager[Any]:
        """Also texts of which it is not known whose they are, where all rows have the same embedding."""
        if asked is None or isinstance(self.spec.embedding, Column):
            return nullcontext()
        return self.family.wording(asked.named)
