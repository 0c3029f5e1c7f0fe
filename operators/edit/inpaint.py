"""Inpainting: make a masked part of a picture anew, and leave the rest (Lugmayr et al. 2022; Rombach et al. 2022)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from operators.base import Column, Kind
from operators.diffusion.schedulers import Sampling
from operators.edit.base import Edit, Editor
from operators.edit.rows import Edited, EditRow
from operators.errors import MaskError

if TYPE_CHECKING:
    from torch import Tensor


class Inpaint(Edit):
    """Change a picture only where its mask is bright.

    Takes models of 9 channels, which are shown the mask and the rest of the picture, and ordinary ones, which are not.
    The prompt of the picture is read only to exchange a word of it: with a ``target_prompt`` it is not needed.
    """

    encodes_prompt: ClassVar[bool] = False
    own_channels: ClassVar[tuple[int, ...]] = (0, 5)
    per_row: ClassVar[dict[str, Kind]] = {"strength": Kind.NUMBER}

    method: Literal["inpaint"] = Field("inpaint", description="how to edit")
    mask: Annotated[str, Field(min_length=1)] = Field(
        "mask", description="column of masks, as large as their pictures, bright where to change"
    )
    strength: Annotated[float, Field(gt=0, le=1)] | Column = Field(
        1.0, description="share of the steps to redo; at 1 nothing of what the mask covers is left"
    )
    paste: bool = Field(
        True, description="put the picture's own pixels back outside of the mask, which encoding alters a little"
    )

    @property
    def mask_column(self) -> str | None:
        """Where masks are read from."""
        return self.mask

    @property
    def needs_prompt(self) -> bool:
        """Whether a word of the prompt is exchanged."""
        return self.target_prompt is None

    def load(
        self, step: str | None = None, batch_rows: int = 16, device: str | None = None, compiled: bool = False
    ) -> InpaintEditor:
        """Load the model; arguments and errors as in :meth:`Spec.load`."""
        return InpaintEditor(self, step, batch_rows, device, compiled)


class InpaintEditor(Editor[Inpaint]):
    """Loaded inpainting."""

    def group(self, prepared: EditRow) -> Hashable:
        """Also by how many steps are redone."""
        return (super().group(prepared), prepared.options["strength"])

    def check(self, row: EditRow) -> None:
        """Refuse an empty mask."""
        if row.mask is not None and not row.mask.any():
            raise MaskError("the mask is empty: nothing of it is brighter than half")

    def edited(self, batch: list[EditRow]) -> Edited:
        """Denoise from pure noise, or at less strength from the noised picture."""
        import torch

        from operators.diffusion.inpainting import KeepOriginal, covered
        from operators.diffusion.noise import row_generators, row_noise

        family, first = self._family, batch[0]
        generators = row_generators(row.seed for row in batch)
        strength = first.options["strength"]
        schedule = Sampling(self._scheduler, first.steps, family.device, strength)
        shape = (family.channels, first.height // family.factor, first.width // family.factor)
        pixels, masks = self._pixels(batch), self._masks(batch)
        mask = covered(masks, *shape[1:]).to(family.device)
        prompts = self._guided(batch, self._controls.encode(batch, [row.target or "" for row in batch]))

        is_shown = family.extra_channels in self.spec.own_channels[1:]
        clean = None if is_shown and strength == 1 else family.encode_images(pixels, generators)
        noise = row_noise(generators, shape, family.device)
        channels = None
        if is_shown:
            channels = torch.cat([mask, family.encode_images(pixels * (1 - masks), generators)], 1)
        denoising = self._denoising(batch, schedule, prompts, generators, channels=channels)
        if not is_shown and clean is not None:
            denoising.methods.append(KeepOriginal(schedule, mask, clean, noise))
        return Edited(denoising(schedule.noisy(noise, clean if strength < 1 else None)))

    def finished(self, batch: list[EditRow], pixels: Tensor) -> Tensor:
        """The pictures, with their own pixels outside of the mask where those are to be pasted."""
        if not self.spec.paste:
            return pixels
        own = (self._pixels(batch) / 2 + 0.5).to(pixels.device)
        return pixels.where(self._masks(batch).to(pixels.device) > 0, own)

    def _masks(self, batch: list[EditRow]) -> Tensor:
        import torch

        return torch.stack([row.mask for row in batch if row.mask is not None])
