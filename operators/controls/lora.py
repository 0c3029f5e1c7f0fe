"""Low-rank adaptation: small changes of the networks' weights, learnt for a style or a thing (Hu et al. 2021)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from operators.base import Column, Kind
from operators.controls.adapters import AdapterControl, AdapterSpec
from operators.controls.base import Touches, row_options
from operators.errors import RowError
from operators.models.adapters import AdapterFiles, AdapterRef
from operators.models.ref import ModelRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from operators.diffusion.family import StableDiffusion
    from operators.diffusion.lora import Adapter


class Lora(AdapterSpec):
    """Add a low-rank adapter to the networks' weights."""

    kind: ClassVar[str] = "lora"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.WEIGHTS})
    per_row: ClassVar[dict[str, Kind]] = {"weights": Kind.TEXT, "scale": Kind.NUMBER}
    repeatable: ClassVar[bool] = True
    file_names: ClassVar[tuple[str, ...]] = ("pytorch_lora_weights",)

    weights: AdapterRef | Column = Field(
        description="file, folder, URI or hub id of the adapter; a row in which it is empty does without"
    )
    scale: Annotated[float, Field(allow_inf_nan=False)] | Column = Field(
        1.0, description="how much of it; rows of one batch have the same"
    )
    kept: int = Field(4, ge=1, description="adapters kept in memory, those used last")

    @property
    def source(self) -> AdapterRef | Column:
        """Where the adapter comes from."""
        return self.weights

    def load(self, family: StableDiffusion, allow_pickle: bool) -> LoadedLora:
        """The adapter, where it is the same for all rows."""
        return LoadedLora(self, family, allow_pickle, self.kept)


class Amount(NamedTuple):
    """So much of an adapter."""

    ref: ModelRef
    scale: float


class LoadedLora(AdapterControl[Lora, Amount | None, "Adapter"]):
    """A loaded LoRA: while a batch runs, the networks have the sums of their own weights and the adapter's."""

    def open(self, files: AdapterFiles) -> Adapter:
        """The factors of a file."""
        from operators.diffusion.lora import adapter

        return adapter(files, self.family)

    def prepare(
        self,
        table: pa.Table,
        texts: Sequence[tuple[str, ...] | None],  # noqa: ARG002
    ) -> list[Amount | RowError | None]:
        """How much of which adapter every row asks for."""
        options = row_options(self.spec, ["scale"], table)
        return [_amount(ref, own) for ref, own in zip(self.refs(table), options, strict=True)]

    def group(self, asked: Amount | None) -> Hashable:
        """Rows with as much of the same adapter."""
        return asked

    @contextmanager
    def installed(self, asked: Amount | None) -> Iterator[None]:
        """The networks with the adapter."""
        from operators.diffusion.weights import swapped

        if asked is None:
            yield
            return
        adapter = self.opened(asked.ref)
        way = self.family.encoding((self.spec.kind, asked)) if adapter.changes_text else nullcontext()
        with swapped(adapter.weights(asked.scale)), way:
            yield


def _amount(ref: ModelRef | RowError | None, options: Any) -> Amount | RowError | None:
    for found in (ref, options):
        if isinstance(found, RowError):
            return found
    return None if ref is None or isinstance(ref, RowError) or not options["scale"] else Amount(ref, options["scale"])
