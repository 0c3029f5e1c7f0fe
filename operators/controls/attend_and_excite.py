"""Attend-and-Excite: see to it that no subject of the prompt is left out (Chefer et al. 2023)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from operators.base import Column, Kind
from operators.controls.base import LISTED, Control, ControlSpec, Touches
from operators.errors import ModelError, RowError, ValueInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion

_FINEST_NEEDED = 16
Threshold = Annotated[float, Field(ge=0, le=1)]


class AttendAndExcite(ControlSpec):
    """Move the latents until every subject has some place that attends to it."""

    kind: ClassVar[str] = "attend_and_excite"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.GRADIENT, Touches.TEXT, Touches.TOKENS})
    per_row: ClassVar[dict[str, Kind]] = {
        "words": Kind.TEXT,
        "indices": Kind.TEXT,
        "scale_factor": Kind.NUMBER,
        "max_iter_to_alter": Kind.INTEGER,
    }

    words: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], LISTED] | Column | None = Field(
        None, description="the subjects, whole words of the prompt; in a column, separated by commas"
    )
    indices: Annotated[tuple[Annotated[int, Field(ge=1)], ...], LISTED] | Column | None = Field(
        None, description="the subjects' tokens instead, counted from 1; in a column, separated by commas"
    )
    max_iter_to_alter: Annotated[int, Field(ge=0)] | Column = Field(
        25, description="steps in which the latents are moved, the first ones"
    )
    thresholds: dict[Annotated[int, Field(ge=0)], Threshold] = Field(
        {0: 0.05, 10: 0.5, 20: 0.8},
        description="steps, counted from 0, in which they are moved until each subject has so much attention",
    )
    max_refinement_steps: int = Field(20, ge=1, description="moves in one of these steps, at most")
    scale_factor: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column = Field(
        20.0, description="length of a move in the first step, times `scale_range`"
    )
    scale_range: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = Field(
        (1.0, 0.5), description="moves grow shorter by the root of what falls from one to the other over all steps"
    )
    attention_downscaling: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="latents that a position of the attention maps stands for, each way, as 4 for SD's 16 x 16 maps; "
        "unless given, that of the coarsest maps of 16 x 16 or more at the model's own size, or else of the finest",
    )
    smoothing_kernel: int = Field(3, ge=1, description="positions that maps are smoothed over, odd; 1 for none")
    smoothing_sigma: float = Field(0.7071, gt=0, description="standard deviation of the smoothing, in positions")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.words is None) == (self.indices is None):
            raise ValueError("name the subjects by `words` or by `indices`, one of them")
        if self.smoothing_kernel % 2 == 0:
            raise ValueError(f"smoothing_kernel is {self.smoothing_kernel}, but must be odd")
        return self

    def load(self, family: StableDiffusion, allow_pickle: bool) -> SubjectAttention:  # noqa: ARG002
        """There is nothing to load.

        Raises:
            ModelError: the model has no attention to text at ``attention_downscaling``.
        """
        return SubjectAttention(self, family)


class SubjectAttention(Control[AttendAndExcite, dict[str, Any]]):
    """Loaded Attend-and-Excite."""

    reads_all_texts: ClassVar[bool] = True

    def __init__(self, spec: AttendAndExcite, family: StableDiffusion) -> None:
        from operators.diffusion.attention import is_cross, latents_per_position

        super().__init__(spec, family)
        unet = family.unet
        levels = len(unet.config.down_block_types)
        layers = {name: latents_per_position(name, levels) for name in unet.attn_processors if is_cross(name)}
        found = set(layers.values())
        fine = [latents for latents in found if unet.config.sample_size >= latents * _FINEST_NEEDED]
        self._downscaling = spec.attention_downscaling or max(fine, default=min(found, default=1))
        self._layers = {name for name, latents in layers.items() if latents == self._downscaling}
        if not self._layers:
            raise ModelError(
                f"attention_downscaling is {self._downscaling}, but this model attends to text at "
                f"{' or '.join(map(str, sorted(found))) or 'no scale'}"
            )

    def prepare(self, table: pa.Table, texts: Sequence[tuple[str, ...] | None]) -> list[dict[str, Any] | RowError]:
        """The options of every row, with the tokens of its subjects as ``tokens``."""
        rows = super().prepare(table, texts)
        return [self._with_tokens(row, text) for row, text in zip(rows, texts, strict=True)]

    @contextmanager
    def installed(self, asked: dict[str, Any]) -> Iterator[None]:  # noqa: ARG002
        """Layers of the right scale tell what attends to the text."""
        from operators.diffusion.attention import readable

        with readable(self.family.unet, self._layers.__contains__) as self._maps:
            yield

    def join(self, denoising: Denoising, asked: list[dict[str, Any]]) -> None:
        """Add the moves."""
        from operators.diffusion.subject_attention import Excite

        denoising.methods.append(Excite(denoising, self._maps, self._downscaling, self.spec, asked))

    def _with_tokens(self, row: Any, texts: tuple[str, ...] | None) -> dict[str, Any] | RowError:
        if isinstance(row, RowError) or texts is None:
            return row  # type: ignore[no-any-return]
        try:
            return {**row, "tokens": self._tokens(texts[0], row["words"], row["indices"])}
        except RowError as error:
            return error

    def _tokens(self, prompt: str, words: Sequence[str] | None, indices: Sequence[int]) -> Sequence[int]:
        """The tokens given, or those of all words, wherever the prompt has them."""
        vocabulary = self.family.vocabulary
        asked = [vocabulary.named(word, prompt) for word in words or ()]
        with vocabulary.reading(self.family, [prompt, *asked]) as (read, *sought):
            tokenizer, _ = self.family.text_encoders[0]
            told = tokenizer(read, truncation=True, return_offsets_mapping=True)["offset_mapping"]
        if words is None:
            return _checked(indices, tokenizer.model_max_length - 2)
        found: set[int] = set()
        for word, own in zip(words, sought, strict=True):
            spans = [match.span() for match in re.finditer(rf"(?<!\w){re.escape(own)}(?!\w)", read, re.IGNORECASE)]
            of_word = {at for at, token in enumerate(told) if any(_overlap(token, span) for span in spans)}
            if not of_word:
                where = "only where it is cut off" if spans else "nowhere"
                raise ValueInvalidError(f"the prompt {vocabulary.shown(read)!r} mentions {word!r} {where}")
            found |= of_word
        return sorted(found)


def _checked(indices: Sequence[int], last: int) -> Sequence[int]:
    if any(index > last for index in indices):
        raise ValueInvalidError(f"indices is {', '.join(map(str, indices))}, but must be in 1..{last}")
    return indices


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
