"""CycleDiffusion: an edit made with the very noise that would make the picture (Wu and De la Torre 2023)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from operators.base import Column, Kind
from operators.controls import Touches
from operators.diffusion.schedulers import steps_taken
from operators.edit.base import Edit, Editor
from operators.edit.rows import Edited, EditRow


class Cycle(Edit):
    """Find the noise of every step under the picture's prompt, and take the same steps under the target's."""

    per_row: ClassVar[dict[str, Kind]] = {"strength": Kind.NUMBER, "source_guidance_scale": Kind.NUMBER}
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.TWO_SIDES})
    samplers: ClassVar[tuple[str, ...]] = ("ddim", "DDIMScheduler")

    method: Literal["cycle"] = Field("cycle", description="how to edit")
    strength: Annotated[float, Field(gt=0, le=1)] | Column = Field(
        0.8, description="share of the steps to redo; less keeps more of the picture"
    )
    source_guidance_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column = Field(
        1.0, description="how closely the picture is taken to follow `prompt`, 1 or less for no guidance"
    )
    eta: float = Field(0.1, ge=0, le=1, description="noise of a step: 0 for none, 1 for as much as DDPM has")

    def load(
        self, step: str | None = None, batch_rows: int = 16, device: str | None = None, compiled: bool = False
    ) -> CycleEditor:
        """Load the model; arguments and errors as in :meth:`Spec.load`."""
        return CycleEditor(self, step, batch_rows, device, compiled)


class CycleEditor(Editor[Cycle]):
    """Loaded CycleDiffusion."""

    def group(self, prepared: EditRow) -> Hashable:
        """Also by how many steps are redone, and by whether the picture's side is guided."""
        options = prepared.options
        return (super().group(prepared), options["strength"], options["source_guidance_scale"] > 1)

    def edited(self, batch: list[EditRow]) -> Edited:
        """Pictures and edits in lockstep; rows of one source row share the picture's side."""
        import torch

        from operators.diffusion.ddim import Ddim
        from operators.diffusion.dpm_encoder import DpmEncoder, Sides
        from operators.diffusion.loop import denoise
        from operators.diffusion.noise import row_generators, row_noise

        family, first = self._family, batch[0]
        sources, places = self._shared(batch)
        generators = row_generators(row.seed for row in sources)
        ddim = Ddim(self._scheduler, first.steps)
        begin = steps_taken(first.steps, first.options["strength"])
        clean = family.encode_images(self._pixels(sources), generators)
        noisy = ddim.noised(clean, row_noise(generators, clean.shape[1:], family.device), begin)

        shown = [self._controls.encode(sources, [row.prompt for row in sources])]
        if first.options["source_guidance_scale"] > 1:
            shown.insert(0, family.encode_negative_prompts([""] * len(sources)))
        wanted = self._guided(batch, self._controls.encode(batch, [row.target or "" for row in batch]))
        predict = Sides(
            (family.predictor(*shown), self._per_row([row.options["source_guidance_scale"] for row in sources])),
            (family.predictor(*wanted), self._per_row([row.guidance_scale for row in batch])),
        )
        latents = denoise(
            predict,
            DpmEncoder(ddim, begin, clean, places, self.spec.eta),
            torch.cat([noisy, noisy[places]]),
            self._per_row([]),
            generators,
        )
        return Edited(latents[len(sources) :])
