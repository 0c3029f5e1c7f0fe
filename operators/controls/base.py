"""What a control is: a cheap spec among the options of ``generate`` or ``edit``, and what it loads once per actor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from operators.base import Column, Kind, column_options, required, values
from operators.errors import RowError, ValueInvalidError
from operators.models.ref import ModelRef

if TYPE_CHECKING:
    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion


class Touches(StrEnum):
    """What of the loop a control works on; some don't go together."""

    TEXT = "reads or changes how texts are encoded"
    TOKENS = "reads or changes at which tokens the words of the prompt are"
    PASSES = "adds predictions under further prompts"
    MAPS = "reads attention maps of the whole picture"
    GRADIENT = "moves the latents by a gradient of attention maps"
    WINDOWS = "predicts in windows"
    CHANNELS = "gives the network channels beside the latents"
    RESIDUALS = "adds to what the network computes inside"
    WEIGHTS = "changes the network's weights"
    OTHER_WEIGHTS = "puts other weights in the place of the network's"
    PICTURE_PROMPT = "puts a picture in place of the text"
    LABELS = "tells the network of a picture beside the text"
    PLAIN = "asks the network also without what controls give it"
    OWN_MODEL = "needs a model that was made for it"
    GUIDANCE = "guides by passes of its own"
    PREDICTION = "changes the guided prediction"
    TWO_SIDES = "denoises the source beside the edit"


class ControlSpec(BaseModel, ABC):
    """Behaviour of one control: frozen, checked when made, free of networks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    """The word that stands for the control in a job file."""

    touches: ClassVar[frozenset[Touches]]
    """What of the loop it works on."""

    per_row: ClassVar[dict[str, Kind]] = {}
    """Options that a column may hold, and what it must hold."""

    needs_unconditional: ClassVar[bool] = False
    """Whether the unconditional prediction is needed even of rows without guidance."""

    repeatable: ClassVar[bool] = False
    """Whether one step may have several."""

    extra_channels: ClassVar[int] = 0
    """Channels that the network is given beside the latents."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Subfolders of the step's own model whose weights it loads."""
        return ()

    def reads(self) -> dict[str, Kind]:
        """The columns that options name."""
        return column_options(self, self.per_row)

    def models(self) -> tuple[ModelRef, ...]:
        """The models that :meth:`load` loads."""
        return ()

    def stage(self, allow_pickle: bool) -> None:
        """Have the models' files on this machine; errors as in :meth:`operators.base.Spec.stage`."""

    def digests(self, allow_pickle: bool) -> dict[str, str]:  # noqa: ARG002
        """SHA-256 of each model's weights; errors as in :meth:`operators.base.Spec.stage`."""
        return {}

    @abstractmethod
    def load(self, family: StableDiffusion, allow_pickle: bool) -> Control[Any, Any]:
        """What does it, with its weights loaded.

        Args:
            family: the model that it controls.
            allow_pickle: take weights that are a pickle.

        Raises:
            ModelError: a model can't be had, or does not fit the one that it is to control.
        """


C = TypeVar("C", bound=ControlSpec)
P = TypeVar("P", bound=Any)


class Control(ABC, Generic[C, P]):
    """A loaded control. ``P`` is what it knows of a row; the options of the row by name, where nothing is overridden.

    Args:
        spec: of the control.
        family: the model that it controls.
    """

    def __init__(self, spec: C, family: StableDiffusion) -> None:
        self.spec = spec
        self.family = family

    def digests(self) -> dict[str, str]:
        """SHA-256 of the weights of each model that it loaded, by the model's name."""
        return {}

    reads_all_texts: ClassVar[bool] = False
    """Whether :meth:`prepare` is told a row's texts as they are to be encoded, those of other controls among them."""

    def prepare(self, table: pa.Table, texts: Sequence[tuple[str, ...] | None]) -> list[P | RowError]:  # noqa: ARG002
        """What is needed of every row, on the CPU; or why the row can't be used.

        Args:
            table: ``n`` rows with the columns that the control reads.
            texts: of every row, what it shall show, then what it shall keep away from, then others that are encoded;
                None for a row that can't be used anyway.
        """
        return row_options(self.spec, self.spec.per_row, table)  # type: ignore[return-value]

    def fit(
        self,
        asked: list[P | RowError],
        table: pa.Table,  # noqa: ARG002
        sizes: Sequence[tuple[int, int] | None],  # noqa: ARG002
    ) -> list[P | RowError]:
        """What is needed of every row at its picture's size; as :meth:`prepare` has it unless overridden.

        Args:
            asked: of every row, or why the row can't be used.
            table: as for :meth:`prepare`.
            sizes: of every row, width and height in pixels; None for a row that can't be used anyway.
        """
        return asked

    def texts(self, asked: P) -> tuple[str, ...]:  # noqa: ARG002
        """Texts of a row that :meth:`join` encodes, beside those of the step."""
        return ()

    def worded(self, asked: P, text: str) -> str:  # noqa: ARG002
        """A text of a row as it is to be encoded."""
        return text

    def group(self, asked: P) -> Hashable:  # noqa: ARG002
        """Rows of one batch have this in common."""
        return None

    def installed(self, asked: P) -> AbstractContextManager[None]:  # noqa: ARG002
        """Weights, attention processors and ways to encode text that last for a batch.

        Args:
            asked: of any row of the batch; all rows are of one group.
        """
        return nullcontext()

    @abstractmethod
    def join(self, denoising: Denoising, asked: list[P]) -> None:
        """Plug into a batch: add passes, conditionings, methods.

        Args:
            denoising: the batch, of which nothing is computed yet; other controls may join after this one.
            asked: of every row.
        """


LISTED = BeforeValidator(
    lambda given: [part for part in map(str.strip, given.split(",")) if part] if isinstance(given, str) else given
)
"""Lets a list be one text, as a column holds it, with commas between its parts."""


def row_options(model: BaseModel, names: Iterable[str], table: pa.Table) -> list[dict[str, Any] | RowError]:
    """The options of every row by name, those from columns held to the limits that constants have."""
    given = {name: values(getattr(model, name), table) for name in names}
    limits = {name: _limits(model, name) for name in given if isinstance(getattr(model, name), Column)}
    return [_row(given, limits, row) for row in range(table.num_rows)]


OptionsWithParts = tuple[dict[str, Any], list[dict[str, Any]]]
"""The options of one row, and those of each part of it: of each concept, of each region."""


def with_parts(
    own: Sequence[dict[str, Any] | RowError], parts: Sequence[Sequence[dict[str, Any] | RowError]]
) -> list[OptionsWithParts | RowError]:
    """The options of every row and those of its parts together; the first error, where any of them has one.

    Args:
        own: of every row.
        parts: of each part, of every row.
    """
    return [_together(row, list(of)) for row, of in zip(own, zip(*parts, strict=True), strict=True)]


def _together(own: Any, parts: list[Any]) -> OptionsWithParts | RowError:
    return next((one for one in (own, *parts) if isinstance(one, RowError)), (own, parts))


def _limits(model: BaseModel, name: str) -> TypeAdapter[Any]:
    annotation: Any = type(model).model_fields[name].annotation
    return TypeAdapter(annotation)


def _row(given: dict[str, list[Any]], limits: dict[str, TypeAdapter[Any]], row: int) -> dict[str, Any] | RowError:
    options = {name: column[row] for name, column in given.items()}
    try:
        for name, adapter in limits.items():
            options[name] = adapter.validate_python(required(options[name], name))
    except RowError as error:
        return error
    except ValidationError as error:
        return ValueInvalidError(f"{name} is {options[name]}: {error.errors()[0]['msg']}")
    return options
