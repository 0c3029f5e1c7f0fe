"""InstructPix2Pix: change a picture as an instruction says, with a model trained for it (Brooks et al. 2023)."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from string import Formatter
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from operators.base import Column, Kind
from operators.controls import Touches
from operators.diffusion.schedulers import Sampling
from operators.edit.base import Edit, Editor
from operators.edit.rows import Edited, EditRow
from operators.models.ref import ModelRef


def _placeholders(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def _checked(template: str) -> str:
    if not {"to"} <= _placeholders(template) <= {"from", "to"}:
        raise ValueError("the template needs {to}, may have {from}, and can't have other words in braces")
    return template


class Instruct(Edit):
    """Follow an instruction: ``target_prompt``, or what ``template`` makes of ``from`` and ``to``.

    What the picture shows need not be known.
    """

    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.GUIDANCE, Touches.CHANNELS, Touches.OWN_MODEL})
    own_channels: ClassVar[tuple[int, ...]] = (4,)
    per_row: ClassVar[dict[str, Kind]] = {"image_guidance_scale": Kind.NUMBER}

    method: Literal["instruct"] = Field("instruct", description="how to edit")
    model: ModelRef = Field(ModelRef("timbrooks/instruct-pix2pix"), description="an InstructPix2Pix model")
    target_prompt: str | Column | None = Field(None, description="the instruction, instead of `from` and `to`")
    template: Annotated[str, AfterValidator(_checked)] = Field(
        "change {from} to {to}", description="the instruction that `from` and `to` make; without {from}, `to` is enough"
    )
    guidance_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column | None = Field(
        None, description="how closely to follow the instruction; 3 built-in, 7.5 otherwise"
    )
    image_guidance_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column = Field(
        1.5, description="how closely to stay with the picture"
    )

    @property
    def needs_prompt(self) -> bool:
        """Never."""
        return False

    @property
    def needs_from(self) -> bool:
        """Whether the template has a place for it."""
        return "from" in _placeholders(self.template)

    def target(self, prompt: str, word: str, to: str) -> str:  # noqa: ARG002
        """The instruction for a change of one word."""
        return self.template.format(**{"from": word, "to": to})

    def load(
        self, step: str | None = None, batch_rows: int = 16, device: str | None = None, compiled: bool = False
    ) -> InstructEditor:
        """Load the model; arguments and errors as in :meth:`Spec.load`."""
        return InstructEditor(self, step, batch_rows, device, compiled)


class InstructEditor(Editor[Instruct]):
    """Loaded InstructPix2Pix."""

    def group(self, prepared: EditRow) -> Hashable:
        """Rows that take the same steps at the same size; all have three passes."""
        return (prepared.steps, prepared.width, prepared.height, self._controls.group(prepared.controls))

    def edited(self, batch: list[EditRow]) -> Edited:
        """Denoise from pure noise under nothing, the picture, and the picture and the instruction (eq. 3)."""
        import torch

        from operators.diffusion.loop import guide_by_picture
        from operators.diffusion.noise import row_generators, row_noise

        family = self._family
        generators = row_generators(row.seed for row in batch)
        schedule = Sampling(self._scheduler, batch[0].steps, family.device)
        picture = family.encode_raw(self._pixels(batch), None)
        noise = row_noise(generators, picture.shape[1:], family.device)
        nothing = self._controls.encode_negative(batch, [row.negative_prompt for row in batch])
        instruction = self._controls.encode(batch, [row.target or "" for row in batch])
        image_guidance_scale = self._per_row([row.options["image_guidance_scale"] for row in batch])
        denoising = self._denoising(
            batch,
            schedule,
            [nothing, nothing, instruction],
            generators,
            channels=torch.stack([torch.zeros_like(picture), picture, picture]),
            guidance=partial(guide_by_picture, image_guidance_scale=image_guidance_scale),
        )
        return Edited(denoising(schedule.noisy(noise)))
