"""Pix2Pix Zero: an edit that keeps where things are, by guiding cross-attention (Parmar et al. 2023)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.base import Column, Kind
from operators.controls import Touches
from operators.edit.base import Edit, Editor
from operators.edit.concepts import Concept, Sentences, TextModel, from_templates
from operators.edit.inverted import check_inverted
from operators.edit.rows import Edited, EditRow
from operators.marks.xmp import SourceType
from operators.models.loading import ModelFiles, pick_device
from operators.models.ref import ModelRef

if TYPE_CHECKING:
    from torch import Tensor

    from operators.diffusion.ddim import Ddim
    from operators.diffusion.prompts import Prompts


class Start(StrEnum):
    """Where the latents that the edit begins at come from."""

    INVERTED = "inverted"
    PICTURE = "picture"
    NOISE = "noise"


_AMOUNTS = {Start.INVERTED: 0.1, Start.PICTURE: 0.1, Start.NOISE: 0.15}


class Pix2PixZero(Edit):
    """Change a concept along a direction between embeddings, and keep the layout by the source's attention."""

    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.GRADIENT})
    samplers: ClassVar[tuple[str, ...]] = ("ddim", "DDIMScheduler")
    needs_target: ClassVar[bool] = False
    per_row: ClassVar[dict[str, Kind]] = {"cross_attention_guidance": Kind.NUMBER}

    method: Literal["pix2pix_zero"] = Field("pix2pix_zero", description="how to edit")
    start: Start = Field(
        Start.INVERTED,
        description="`inverted` latents of an `invert` step; `picture` to invert in this step; `noise` to generate the "
        "source from `prompt` in this step too, and add it as OUTPUT_source",
    )
    latents: Annotated[str, Field(min_length=1)] = Field(
        "inverted_latents", description="column of inverted latents, for `start: inverted`"
    )
    cross_attention_guidance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column | None = Field(
        None, description="how strongly attention is held to the source's; 0.1, or 0.15 from noise, unless given"
    )
    text_model: TextModel | None = Field(
        None, description="writes the sentences about `from` and `to`; the prompt itself, or templates, unless given"
    )

    @property
    def defaults(self) -> dict[str, float]:
        """How strongly attention is held, by where the edit begins."""
        return {"cross_attention_guidance": _AMOUNTS[self.start]}

    @property
    def touched(self) -> frozenset[Touches]:
        """Also the network without what controls give it, where this step inverts."""
        return self.touches | {Touches.PLAIN} if self.start is Start.PICTURE else self.touches

    @property
    def picture_column(self) -> str | None:
        """Where pictures are read from, if this step inverts."""
        return self.image if self.start is Start.PICTURE else None

    @property
    def source_column(self) -> str | None:
        """Where the pictures are that are edited; an edit that starts at noise makes its own."""
        return None if self.start is Start.NOISE else self.image

    @property
    def latents_column(self) -> str | None:
        """Where inverted latents are read from, if an earlier step inverted."""
        return self.latents if self.start is Start.INVERTED else None

    def chain(self, schema: pa.Schema, where: str = "") -> pa.Schema:
        """The schema after this step; also refuses latents of another model, with errors as in :meth:`Spec.chain`."""
        if self.start is Start.INVERTED:
            check_inverted(schema, self.latents, {"model": self.model}, where)
        return super().chain(schema, where)

    def writes(self) -> dict[str, pa.DataType]:
        """As for all methods; with the generated source where there was none."""
        source = {f"{self.output}_source": columns.IMAGE} if self.start is Start.NOISE else {}
        return {**super().writes(), **source}

    def models(self) -> tuple[ModelRef, ...]:
        """The diffusion model, and the text model if there is one."""
        return (self.model,) if self.text_model is None else (self.model, self.text_model.model)

    def stage(self) -> None:
        """Have the models' files on this machine; errors as in :meth:`Spec.stage`."""
        super().stage()
        self.text_files()

    def digests(self) -> dict[str, str]:
        """SHA-256 of each model's weights; errors as in :meth:`Spec.stage`."""
        text = self.text_files()
        return super().digests() | ({} if text is None else {str(text.ref): text.digest})

    def text_files(self) -> ModelFiles | None:
        """The text model's files on this machine."""
        return None if self.text_model is None else ModelFiles(self.text_model.model, allow_pickle=self.allow_pickle)

    def load(
        self, step: str | None = None, batch_rows: int = 16, device: str | None = None, compiled: bool = False
    ) -> Pix2PixZeroEditor:
        """Load the models; arguments and errors as in :meth:`Spec.load`."""
        return Pix2PixZeroEditor(self, step, batch_rows, device, compiled)


class Pix2PixZeroEditor(Editor[Pix2PixZero]):
    """Loaded Pix2Pix Zero."""

    def __init__(
        self,
        spec: Pix2PixZero,
        step: str | None = None,
        batch_rows: int = 16,
        device: str | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__(spec, step, batch_rows, device, compiled)
        self._writer: Any = None
        files = spec.text_files()
        if spec.text_model is not None and files is not None:
            from operators.models.sentences import SentenceWriter

            asked = spec.text_model.model_dump(exclude={"model"})
            self._writer = SentenceWriter(files, pick_device(device), **asked)

    def digests(self) -> dict[str, str]:
        """SHA-256 of each model's weights."""
        text = self.spec.text_model
        return super().digests() | ({} if text is None else {str(text.model): self._writer.digest})

    def edited(self, batch: list[EditRow]) -> Edited:
        """Reference and edit in lockstep; rows of one source row share inversion and reference."""
        import torch

        from operators.diffusion.attention import readable
        from operators.diffusion.cross_attention_guidance import CrossAttentionGuidance, Reference
        from operators.diffusion.ddim import Ddim
        from operators.diffusion.noise import row_generators

        family = self._family
        sources, places = self._shared(batch)
        firsts = (places == torch.arange(len(sources), device=family.device)[:, None]).int().argmax(1)
        ddim = Ddim(self._scheduler, batch[0].steps)
        begin = self._begin(sources, ddim)
        own = self._controls.encode(sources, [row.prompt for row in sources])
        prompts = self._guided(sources, own)
        edited = self._guided(batch, own[places] + self._directions(batch))
        amount = self._per_row([row.options["cross_attention_guidance"] for row in batch])
        denoising = self._denoising(batch, ddim.sampling(), edited, row_generators(row.seed for row in batch))
        with readable(family.unet) as layers:
            scales = self._per_row([row.guidance_scale for row in sources])
            predict = denoising.predictor_of(firsts, prompts)
            reference = Reference(layers, predict, ddim.sampling(), begin, scales)
            predict_edited = denoising.predictor(range(len(edited)))
            denoising.methods.append(CrossAttentionGuidance(layers, predict_edited, reference, places, amount))
            latents = denoising(begin[places])
        if self.spec.start is not Start.NOISE:
            return Edited(latents)
        pictures, errors = self._rendered(reference.latents, SourceType.GENERATED, sources)
        failed = {row: errors[source] for row, source in enumerate(places.tolist()) if source in errors}
        return Edited(latents, {f"{self.spec.output}_source": pictures.take(pa.array(places.tolist()))}, failed)

    def _begin(self, sources: list[EditRow], ddim: Ddim) -> Tensor:
        """Latents ``(n, c, h, w)`` at the noisiest level."""
        import torch

        from operators.diffusion.loop import denoise
        from operators.diffusion.noise import row_generators, row_noise

        family = self._family
        latents = [row.latents for row in sources if row.latents is not None]
        if latents:
            last = [torch.tensor(given if given.ndim == 3 else given[-1]) for given in latents]
            return torch.stack(last).to(family.device, torch.float32)
        generators = row_generators(row.seed for row in sources)
        pixels = [row.pixels for row in sources if row.pixels is not None]
        if not pixels:
            shape = (family.channels, sources[0].height // family.factor, sources[0].width // family.factor)
            return row_noise(generators, shape, family.device)
        clean = family.encode_images(torch.stack(pixels), generators)
        predict = family.predictor(self._controls.encode(sources, [row.prompt for row in sources]))
        return denoise(predict, ddim.inverting(), clean, self._per_row([1.0] * len(sources)), [])

    def _directions(self, batch: list[EditRow]) -> Prompts:
        """What to add to each row's prompt: the mean of the target's sentences less the mean of the source's."""
        pairs = [self._sentences(row) for row in batch]
        to, of = ([pair[side] for pair in pairs] for side in (1, 0))
        return self._controls.encode_means(batch, to) - self._controls.encode_means(batch, of)

    def _sentences(self, row: EditRow) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if row.change is None:
            return (row.prompt,), (row.target or "",)
        source, target = row.change
        plain = not isinstance(source, Sentences) and not isinstance(target, Sentences)
        if plain and self._writer is None and row.target is not None:
            return (row.prompt,), (row.target,)
        return self._about(source), self._about(target)

    def _about(self, concept: Concept) -> tuple[str, ...]:
        if self._writer is None or isinstance(concept, Sentences):
            return from_templates(concept)
        written: tuple[str, ...] = self._writer.about(concept)
        return written
