"""Image to image: noise a picture in part, and denoise it under another prompt (SDEdit, Meng et al. 2022)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from operators.base import Column, Kind
from operators.diffusion.schedulers import Sampling
from operators.edit.base import Edit, Editor
from operators.edit.rows import Edited, EditRow


class Img2Img(Edit):
    """Redo the last steps of a picture's making, with what it shall show as the prompt.

    The prompt of the picture is read only to exchange a word of it: with a ``target_prompt`` it is not needed.
    """

    encodes_prompt: ClassVar[bool] = False
    per_row: ClassVar[dict[str, Kind]] = {"strength": Kind.NUMBER}

    method: Literal["img2img"] = Field("img2img", description="how to edit")
    strength: Annotated[float, Field(gt=0, le=1)] | Column = Field(
        0.8, description="share of the steps to redo; near 1 little of the picture is left"
    )

    @property
    def needs_prompt(self) -> bool:
        """Whether a word of the prompt is exchanged."""
        return self.target_prompt is None

    def load(
        self, step: str | None = None, batch_rows: int = 16, device: str | None = None, compiled: bool = False
    ) -> Img2ImgEditor:
        """Load the model; arguments and errors as in :meth:`Spec.load`."""
        return Img2ImgEditor(self, step, batch_rows, device, compiled)


class Img2ImgEditor(Editor[Img2Img]):
    """Loaded SDEdit."""

    def group(self, prepared: EditRow) -> Hashable:
        """Also by how many steps are redone."""
        return (super().group(prepared), prepared.options["strength"])

    def edited(self, batch: list[EditRow]) -> Edited:
        """Noise and denoise; every row draws its latents' noise first, then the noise to begin with."""
        from operators.diffusion.noise import row_generators, row_noise

        family = self._family
        generators = row_generators(row.seed for row in batch)
        schedule = Sampling(self._scheduler, batch[0].steps, family.device, batch[0].options["strength"])
        clean = family.encode_images(self._pixels(batch), generators)
        noise = row_noise(generators, clean.shape[1:], family.device)
        prompts = self._guided(batch, self._controls.encode(batch, [row.target or "" for row in batch]))
        denoising = self._denoising(batch, schedule, prompts, generators)
        return Edited(denoising(schedule.noisy(noise, clean)))
