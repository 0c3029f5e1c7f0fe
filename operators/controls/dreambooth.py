"""DreamBooth: a whole model, tuned to a thing (Ruiz et al. 2023), in the place of the step's own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from operators.base import Column, Kind
from operators.controls.adapters import AdapterControl, AdapterSpec
from operators.controls.base import Touches
from operators.errors import RowError
from operators.models.loading import ModelFiles
from operators.models.ref import ModelRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from operators.diffusion.checkpoint import Checkpoint
    from operators.diffusion.family import StableDiffusion


class Dreambooth(AdapterSpec):
    """Put a tuned model's denoiser, and its text encoders if it has them, in the place of the step's own."""

    kind: ClassVar[str] = "dreambooth"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.WEIGHTS, Touches.OTHER_WEIGHTS})
    per_row: ClassVar[dict[str, Kind]] = {"checkpoint": Kind.TEXT}
    parse: ClassVar[Callable[[str], ModelRef]] = ModelRef.parse

    checkpoint: ModelRef | Column = Field(
        description="folder, URI or hub id of a model tuned from one of the same make as the step's; a row in which it "
        "is empty has the step's own"
    )
    kept: int = Field(2, ge=1, description="checkpoints kept in memory, those used last")

    @property
    def source(self) -> ModelRef | Column:
        """Where the model comes from."""
        return self.checkpoint

    def files(self, ref: ModelRef, allow_pickle: bool) -> ModelFiles:
        """The files of its denoiser and text encoders on this machine."""
        return ModelFiles(ref, ("unet",), allow_pickle, optional=("text_encoder", "text_encoder_2"))

    def load(self, family: StableDiffusion, allow_pickle: bool) -> LoadedDreambooth:
        """The model, where it is the same for all rows."""
        return LoadedDreambooth(self, family, allow_pickle, self.kept)


class LoadedDreambooth(AdapterControl[Dreambooth, ModelRef | None, "Checkpoint"]):
    """Loaded checkpoints: networks stay as they are and have other weights while a batch runs."""

    def open(self, files: ModelFiles) -> Checkpoint:
        """The weights of a folder."""
        from operators.diffusion.checkpoint import checkpoint

        return checkpoint(files, self.family)

    def check(self, ref: ModelRef) -> None:
        """Look at the files alone: all rows are checked ahead of the first batch, and few checkpoints are kept."""
        from operators.diffusion.checkpoint import check

        check(self.spec.files(ref, self._allow_pickle), self.family)

    def prepare(
        self,
        table: pa.Table,
        texts: Sequence[tuple[str, ...] | None],  # noqa: ARG002
    ) -> list[ModelRef | RowError | None]:
        """Which checkpoint every row asks for."""
        return self.refs(table)

    def group(self, asked: ModelRef | None) -> Hashable:
        """Rows with the same checkpoint."""
        return asked

    @contextmanager
    def installed(self, asked: ModelRef | None) -> Iterator[None]:
        """The networks with the checkpoint's weights."""
        from operators.diffusion.weights import swapped

        if asked is None:
            yield
            return
        checkpoint = self.opened(asked)
        way = self.family.encoding((self.spec.kind, asked)) if checkpoint.changes_text else nullcontext()
        with swapped(checkpoint.weights), way:
            yield
