"""Controls whose weights come from elsewhere: the same for all rows, or other ones in every row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from operators.base import Column, values
from operators.controls.base import Control, ControlSpec
from operators.errors import ModelError, RowError, ValueMissingError, WeightsError
from operators.models.adapters import AdapterFiles, AdapterRef
from operators.models.kept import Kept
from operators.models.loading import ModelFiles
from operators.models.ref import ModelRef

if TYPE_CHECKING:
    import pyarrow as pa

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion


class AdapterSpec(ControlSpec, ABC):
    """A control with weights of its own."""

    file_names: ClassVar[tuple[str, ...]]
    """What the file of weights may be called, without its ending."""

    parse: ClassVar[Callable[[str], ModelRef]] = AdapterRef.parse
    """Checks a name's form."""

    @property
    @abstractmethod
    def source(self) -> ModelRef | Column:
        """Where the weights come from."""

    def files(self, ref: ModelRef, allow_pickle: bool) -> AdapterFiles | ModelFiles:
        """The files of the weights on this machine; errors as in :meth:`operators.base.Spec.stage`."""
        return AdapterFiles(AdapterRef(ref), self.file_names, allow_pickle)

    def models(self) -> tuple[ModelRef, ...]:
        """The weights, where they are the same for all rows."""
        return () if isinstance(self.source, Column) else (self.source,)

    def stage(self, allow_pickle: bool) -> None:
        """Have the weights on this machine, where they are the same for all rows."""
        for ref in self.models():
            self.files(ref, allow_pickle)

    def digests(self, allow_pickle: bool) -> dict[str, str]:
        """SHA-256 of the weights, where they are the same for all rows."""
        return {str(ref): self.files(ref, allow_pickle).digest for ref in self.models()}


C = TypeVar("C", bound=AdapterSpec)
P = TypeVar("P")
A = TypeVar("A")


class AdapterControl(Control[C, P], Generic[C, P, A]):
    """A loaded control of this kind; ``A`` is what the files become, of which those used least recently are let go.

    Args:
        spec: of the control.
        family: the model that it controls.
        allow_pickle: take weights that are a pickle.
        kept: how many are kept.

    Raises:
        ModelError: the weights of all rows can't be had, or don't fit the model.
    """

    def __init__(self, spec: C, family: StableDiffusion, allow_pickle: bool, kept: int) -> None:
        super().__init__(spec, family)
        self._allow_pickle = allow_pickle
        self._kept: Kept[ModelRef, A] = Kept(kept)
        self._shared = {ref: spec.files(ref, allow_pickle) for ref in spec.models()}
        for ref in self._shared:
            self._opened(ref)

    def digests(self) -> dict[str, str]:
        """SHA-256 of the weights, where they are the same for all rows."""
        return {str(ref): files.digest for ref, files in self._shared.items()}

    @abstractmethod
    def open(self, files: Any) -> A:
        """What the files hold, as it is used.

        Raises:
            ModelError: they hold something else, or it does not fit the model.
        """

    def check(self, ref: ModelRef) -> None:
        """Refuse weights of one row; by opening them, unless it can be told otherwise.

        Raises:
            ModelError: they can't be had, or don't fit the model.
        """
        self._opened(ref)

    def opened(self, ref: ModelRef) -> A:
        """The weights of a name that was checked.

        Raises:
            WeightsError: they can't be had any longer.
        """
        try:
            return self._opened(ref)
        except ModelError as error:
            raise WeightsError(error.message) from None

    def refs(self, table: pa.Table) -> list[ModelRef | RowError | None]:
        """The name of every row's weights, each checked once; None where a row does without."""
        names = values(self.spec.source, table)
        known = {name: self._ref(name) for name in dict.fromkeys(names)}
        return [known[name] for name in names]

    def join(self, denoising: Denoising, asked: list[P]) -> None:
        """There is nothing to add to a batch but the weights."""

    def _ref(self, name: str | None) -> ModelRef | RowError | None:
        if not name:
            return ValueMissingError("the column that names the weights is null") if name is None else None
        try:
            ref = type(self.spec).parse(name)
            self.check(ref)
        except (ModelError, ValueError) as error:
            return WeightsError(str(error))
        return ref

    def _opened(self, ref: ModelRef) -> A:
        files = self._shared.get(ref)
        return self._kept.get(ref, lambda: self.open(files or self.spec.files(ref, self._allow_pickle)))
