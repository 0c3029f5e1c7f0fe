"""Steps that take controls: the option, and the loaded controls of one step together."""

from __future__ import annotations

from abc import ABC
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial, reduce
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

import pyarrow as pa
from pydantic import Field, model_validator

from operators.base import Kind
from operators.controls import AnyControl, Control, Touches
from operators.controls.combining import check_together
from operators.diffusion.spec import DiffusionSpec
from operators.errors import RowError
from operators.models.ref import ModelRef

if TYPE_CHECKING:
    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion
    from operators.diffusion.prompts import Prompts


class ControlledSpec(DiffusionSpec, ABC):
    """A step over one Stable Diffusion model whose denoising can be controlled."""

    touches: ClassVar[frozenset[Touches]] = frozenset()
    """What of the loop the step itself works on."""

    controls: tuple[AnyControl, ...] = Field((), description="what changes how the step denoises")

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        check_together(self.controls, self.touched, self.kind)
        return self

    @property
    def touched(self) -> frozenset[Touches]:
        """The same with the options given."""
        return self.touches

    @property
    def extra_channels(self) -> tuple[int, ...]:
        """Channels that the controls give the network, or else those of the step."""
        given = sum(control.extra_channels for control in self.controls)
        return (given,) if given else super().extra_channels

    @property
    def parts(self) -> tuple[str, ...]:
        """Subfolders of the model whose weights are loaded, also by controls."""
        further = tuple(part for control in self.controls for part in control.parts)
        has_text = all(Touches.PICTURE_PROMPT not in control.touches for control in self.controls)
        return (*(part for part in super().parts if has_text or part != "text_encoder"), *further)

    @property
    def is_labelled(self) -> bool:
        """Whether a control tells the network of a picture beside the text."""
        return any(Touches.LABELS in control.touches for control in self.controls)

    @property
    def always_guided(self) -> bool:
        """Whether the unconditional prediction is needed of every row."""
        return any(control.needs_unconditional for control in self.controls)

    def reads(self) -> dict[str, Kind]:
        """The columns that controls read."""
        return {name: kind for control in self.controls for name, kind in control.reads().items()}

    def models(self) -> tuple[ModelRef, ...]:
        """The diffusion model, and those of the controls."""
        return (self.model, *(model for control in self.controls for model in control.models()))

    def stage(self) -> None:
        """Have the models' files on this machine; errors as in :meth:`Spec.stage`."""
        super().stage()
        for control in self.controls:
            control.stage(self.allow_pickle)

    def digests(self) -> dict[str, str]:
        """SHA-256 of each model's weights; errors as in :meth:`Spec.stage`."""
        found = super().digests()
        for control in self.controls:
            found |= control.digests(self.allow_pickle)
        return found


class Row(Protocol):
    """One row of a batch: a dataclass with a field for what controls need."""

    @property
    def texts(self) -> tuple[str, ...]:
        """What it shall show, what it shall keep away from, and others that are encoded."""

    @property
    def width(self) -> int:
        """Pixels of the picture that is made."""

    @property
    def height(self) -> int:
        """The same."""

    @property
    def controls(self) -> tuple[Any, ...]:
        """What each control needs of it."""


R = TypeVar("R", bound=Row)


class Controls:
    """The controls of one step, loaded, in their order.

    Args:
        spec: of the step.
        family: the model that they control.

    Raises:
        ModelError: a model can't be had, or does not fit.
    """

    def __init__(self, spec: ControlledSpec, family: StableDiffusion) -> None:
        self._family = family
        self._controls = [control.load(family, spec.allow_pickle) for control in spec.controls]

    def digests(self) -> dict[str, str]:
        """SHA-256 of each model's weights, by the model's name."""
        return {name: digest for control in self._controls for name, digest in control.digests().items()}

    def prepared(self, table: pa.Table, rows: Sequence[R | RowError]) -> list[R | RowError]:
        """The rows with what each control needs of them, or why a row can't be used.

        Args:
            table: that the rows were prepared from.
            rows: dataclasses with ``texts``, as :meth:`Control.prepare` takes them, a size, and a field ``controls``.
        """
        texts = [None if isinstance(row, RowError) else row.texts for row in rows]
        sizes = [None if isinstance(row, RowError) else (row.width, row.height) for row in rows]
        early = [control for control in self._controls if not control.reads_all_texts]
        prepared = {control: control.prepare(table, texts) for control in early}
        per_row = zip(*prepared.values(), strict=True) if early else repeat((), len(rows))
        told = [_all_texts(own, list(zip(early, one, strict=True))) for own, one in zip(texts, per_row, strict=True)]
        late = [control for control in self._controls if control.reads_all_texts]
        prepared |= {control: control.prepare(table, told) for control in late}
        per_control = [control.fit(prepared[control], table, sizes) for control in self._controls]
        asked = zip(*per_control, strict=True) if per_control else repeat((), len(rows))
        return [_with(row, one) for row, one in zip(rows, asked, strict=True)]

    def encode(self, rows: Sequence[Row], texts: Sequence[str]) -> Prompts:
        """Embeddings of a text of every row."""
        return self._family.encode_prompts(self._worded([row.controls for row in rows], texts))

    def encode_negative(self, rows: Sequence[Row], texts: Sequence[str]) -> Prompts:
        """Embeddings of what to keep away from, of every row."""
        return self._family.encode_negative_prompts(self._worded([row.controls for row in rows], texts))

    def encode_means(self, rows: Sequence[Row], concepts: Sequence[tuple[str, ...]]) -> Prompts:
        """The mean embedding of a concept's sentences, of every row."""
        return self._family.encode_means([tuple(told) for told in self._each_worded(rows, concepts)])

    def truncated(self, rows: Sequence[Row], texts: Sequence[Sequence[str]]) -> list[str | None]:
        """What is left out of each row's texts; None for nothing."""
        return self._family.truncated(self._each_worded(rows, texts))

    def group(self, asked: tuple[Any, ...]) -> Hashable:
        """Rows of one batch have this in common."""
        return tuple(control.group(one) for control, one in zip(self._controls, asked, strict=True))

    @contextmanager
    def installed(self, asked: tuple[Any, ...]) -> Iterator[None]:
        """What lasts for a batch, taken away at its end, whatever happens inside."""
        with ExitStack() as stack:
            # What changes weights must find those there that another control puts in their place.
            for control, one in sorted(zip(self._controls, asked, strict=True), key=_changes_what_is_there):
                stack.enter_context(control.installed(one))
            yield

    def join(self, denoising: Denoising, asked: Sequence[tuple[Any, ...]]) -> None:
        """Plug all of them into a batch."""
        denoising.worded = partial(self._worded, asked)
        for control, rows in zip(self._controls, zip(*asked, strict=True), strict=True):
            control.join(denoising, list(rows))

    def _each_worded(self, rows: Sequence[Row], texts: Sequence[Sequence[str]]) -> list[list[str]]:
        return [self._worded([row.controls] * len(own), own) for row, own in zip(rows, texts, strict=True)]

    def _worded(self, asked: Sequence[tuple[Any, ...]], texts: Sequence[str]) -> list[str]:
        return [_said(zip(self._controls, one, strict=True), text) for one, text in zip(asked, texts, strict=True)]


Asked = tuple[Control[Any, Any], Any]
"""A control, and what it needs to know of a row."""


def _all_texts(texts: tuple[str, ...] | None, asked: Sequence[Asked]) -> tuple[str, ...] | None:
    """A row's texts and those of its controls, as they are to be encoded; None for a row that can't be used."""
    if texts is None or any(isinstance(one, RowError) for _, one in asked):
        return None
    own = (text for control, one in asked for text in control.texts(one))
    return tuple(_said(asked, text) for text in (*texts, *own))


def _said(asked: Iterable[Asked], text: str) -> str:
    return reduce(lambda told, pair: pair[0].worded(pair[1], told), asked, text)


def _changes_what_is_there(pair: Asked) -> bool:
    return Touches.OTHER_WEIGHTS not in pair[0].spec.touches


def _with(row: Any, asked: tuple[Any, ...]) -> Any:
    errors = (one for one in (row, *asked) if isinstance(one, RowError))
    return next(errors, None) or replace(row, controls=asked)
