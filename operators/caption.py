"""``caption``: what a picture shows, in words, by BLIP (Li et al. 2022)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from operators import columns
from operators.base import Column, Kind, Operator, Produced, Spec, column_options, required, values
from operators.errors import RowError, ValueInvalidError
from operators.images import MAX_PIXELS, decode_all
from operators.models.loading import ModelFiles, pick_device, pick_dtype, without_progress_bars
from operators.models.ref import ModelRef

if TYPE_CHECKING:
    from torch import Tensor


class Sampling(BaseModel):
    """Words drawn at random, each row from its own seed, instead of the likeliest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(1.0, gt=0, description="below 1 for likelier words, above 1 for rarer ones")
    top_k: int = Field(50, ge=0, description="draw from this many likeliest words; 0 for all")
    top_p: float = Field(1.0, gt=0, le=1, description="draw from the likeliest words that share this much probability")


class Caption(Spec):
    """Describe pictures in words: adds a text column."""

    kind: ClassVar[str] = "caption"

    model: ModelRef = Field(ModelRef("builtin:blip"), description="a BLIP captioner")
    image: Annotated[str, Field(min_length=1)] = Field("image", description="column of pictures")
    output: Annotated[str, Field(min_length=1)] = Field("caption", description="column to add")
    prefix: str | Column | None = Field(None, description="words that the caption begins with")
    num_beams: int = Field(1, ge=1, le=64, description="captions searched side by side; 1 takes the likeliest word")
    length_penalty: float = Field(1.0, description="above 0 for longer captions, below 0 for shorter; needs beams")
    sampling: Sampling | None = Field(None, description="draw words at random; not with beams")
    min_new_tokens: int = Field(0, ge=0, description="least number of tokens after the prefix")
    max_new_tokens: int = Field(30, ge=1, description="greatest number of tokens after the prefix")
    repetition_penalty: float = Field(1.0, gt=0, description="above 1 against words that were said already")
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="a picture with more pixels is rejected")
    allow_pickle: bool = Field(False, description="take weights that are a pickle; reading one can run any code")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sampling is not None and self.num_beams > 1:
            raise ValueError("sampling and num_beams above 1 exclude each other")
        if self.length_penalty != 1 and self.num_beams == 1:
            raise ValueError("length_penalty ranks beams: it needs num_beams above 1")
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError("min_new_tokens is above max_new_tokens")
        return self

    def reads(self) -> dict[str, Kind]:
        """The pictures, and the prefixes where a column has them."""
        return {self.image: Kind.IMAGE, **column_options(self, {"prefix": Kind.TEXT})}

    def writes(self) -> dict[str, pa.DataType]:
        """The captions."""
        return {self.output: columns.TEXT}

    def models(self) -> tuple[ModelRef, ...]:
        """The captioner."""
        return (self.model,)

    def stage(self) -> None:
        """Have the captioner's files on this machine; errors as in :meth:`Spec.stage`."""
        self.files()

    def digests(self) -> dict[str, str]:
        """SHA-256 of the captioner's weights; errors as in :meth:`Spec.stage`."""
        return {str(self.model): self.files().digest}

    def files(self) -> ModelFiles:
        """The captioner's files on this machine."""
        return ModelFiles(self.model, allow_pickle=self.allow_pickle)

    def load(
        self,
        step: str | None = None,
        batch_rows: int = 16,
        device: str | None = None,
        compiled: bool = False,  # noqa: ARG002
    ) -> Captioner:
        """Load the captioner; arguments and errors as in :meth:`Spec.load`."""
        return Captioner(self, step, batch_rows, device)


@dataclass(frozen=True)
class Viewed:
    """A row as BLIP takes it: pixels ``(3, h, w)`` at the model's size, token ids ``(k,)`` of the prefix, a seed."""

    pixels: Tensor
    tokens: Tensor
    seed: int


class Captioner(Operator[Caption, Viewed]):
    """A loaded captioner.

    Raises:
        ModelError: the model can't be had, or is no BLIP captioner.
    """

    def __init__(self, spec: Caption, step: str | None = None, batch_rows: int = 16, device: str | None = None) -> None:
        from transformers import AutoProcessor, BlipForConditionalGeneration

        super().__init__(spec, step, batch_rows)
        self._files = spec.files()
        kind = ", ".join(self._files.json("config.json").get("architectures") or ["network of no known kind"])
        if kind != BlipForConditionalGeneration.__name__:
            raise self._files.refuse(f"is a {kind}; this step takes a {BlipForConditionalGeneration.__name__}")
        self._device = pick_device(device)
        processors: Any = AutoProcessor
        self._processor = processors.from_pretrained(self._files.folder)
        with without_progress_bars():
            model: Any = BlipForConditionalGeneration.from_pretrained(
                self._files.folder, dtype=pick_dtype(self._device), use_safetensors=self._files.use_safetensors
            )
        self._model = model.to(self._device).eval().requires_grad_(False)

    def digests(self) -> dict[str, str]:
        """SHA-256 of the captioner's weights."""
        return {str(self.spec.model): self._files.digest}

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Viewed | RowError]:
        """Decode the pictures, a batch at a time, and keep them at the model's size alone."""
        prefixes = [""] * table.num_rows if self.spec.prefix is None else values(self.spec.prefix, table)
        pictures = table[self.spec.image].combine_chunks()
        prepared: list[Viewed | RowError] = []
        for first in range(0, table.num_rows, self.batch_rows):
            for picture in decode_all(pictures.slice(first, self.batch_rows), max_pixels=self.spec.max_pixels):
                row = len(prepared)
                prepared.append(self._viewed(picture, prefixes[row], seeds[row]))
        return prepared

    def group(self, prepared: Viewed) -> Hashable:
        """Prefixes of one length go together: BLIP drops the last token of every row, so none may be padded."""
        return len(prepared.tokens)

    def run(self, batch: list[Viewed]) -> Produced:
        """Caption a batch of rows whose prefixes have one length."""
        import torch

        tokens = torch.stack([row.tokens for row in batch]).to(self._device)
        with torch.no_grad():
            said = self._model.generate(
                torch.stack([row.pixels for row in batch]).to(self._device, self._model.dtype),
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                **self._decoding(batch),
            )
        captions = self._processor.tokenizer.batch_decode(said, skip_special_tokens=True)
        return Produced({self.spec.output: [caption.strip() for caption in captions]})

    def _viewed(self, picture: Any, prefix: str | None, seed: int) -> Viewed | RowError:
        if isinstance(picture, RowError):
            return picture
        try:
            tokens = self._processor.tokenizer(required(prefix, "the prefix"), return_tensors="pt").input_ids[0]
        except RowError as error:
            return error
        if len(tokens) > self._positions:
            return ValueInvalidError(f"the prefix has {len(tokens)} tokens, but the model has {self._positions} places")
        pixels = self._processor.image_processor(picture, return_tensors="pt").pixel_values[0]
        return Viewed(pixels, tokens, seed)

    @property
    def _positions(self) -> int:
        return int(self._model.config.text_config.max_position_embeddings)

    def _decoding(self, batch: list[Viewed]) -> dict[str, Any]:
        spec = self.spec
        room = self._positions + 1 - len(batch[0].tokens)
        options: dict[str, Any] = {
            "do_sample": False,
            "num_beams": spec.num_beams,
            "min_new_tokens": min(spec.min_new_tokens, room),
            "max_new_tokens": min(spec.max_new_tokens, room),
            "repetition_penalty": spec.repetition_penalty,
        }
        if spec.num_beams > 1:
            options["length_penalty"] = spec.length_penalty
        if spec.sampling is not None:
            from operators.models.sampling import row_sampling

            seeds = [row.seed for row in batch]
            options["logits_processor"] = row_sampling(seeds, **spec.sampling.model_dump())
        return options
