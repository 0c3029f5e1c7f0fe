"""DiffEdit: find where two prompts disagree, and change the picture there only (Couairon et al. 2023)."""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.base import Column, Kind
from operators.controls import Touches
from operators.edit.base import Edit, Editor
from operators.edit.inverted import Start, check_inverted
from operators.edit.rows import Edited, EditRow
from operators.errors import MaskError, RowError, ValueInvalidError
from operators.images import encode_all

if TYPE_CHECKING:
    from torch import Tensor

    from operators.diffusion.ddim import Ddim


class Empty(StrEnum):
    """What becomes of a row whose mask is empty."""

    REJECT = "reject"
    COPY = "copy"


class Yardstick(StrEnum):
    """What of a row's own disagreement a threshold is a multiple of."""

    PEAK = "peak"
    MEAN = "mean"


_THRESHOLDS = {Yardstick.PEAK: 0.5, Yardstick.MEAN: 1.5}


class DiffEdit(Edit):
    """Change a picture where the source's and the target's prompts disagree about it, and nowhere else."""

    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.PLAIN})
    samplers: ClassVar[tuple[str, ...]] = ("ddim", "DDIMScheduler")
    per_row: ClassVar[dict[str, Kind]] = {
        "strength": Kind.NUMBER,
        "mask_strength": Kind.NUMBER,
        "mask_threshold": Kind.NUMBER,
        "inversion_prompt": Kind.TEXT,
    }

    method: Literal["diffedit"] = Field("diffedit", description="how to edit")
    start: Start = Field(
        Start.PICTURE,
        description="`picture` to invert in this step; `inverted` for the trajectory of an `invert` step",
    )
    latents: Annotated[str, Field(min_length=1)] = Field(
        "inverted_latents", description="column of inverted trajectories, for `start: inverted`"
    )
    inversion_prompt: str | Column = Field(
        "", description="what the picture is said to show while this step inverts it; nothing, as published"
    )
    strength: Annotated[float, Field(gt=0, le=1)] | Column = Field(
        0.8, description="share of the steps that the edit goes back; 1 forgets what the mask covers"
    )
    mask: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="column of masks, bright where to change; found from the prompts unless given"
    )
    mask_maps: int = Field(10, ge=1, description="noises that the disagreement is averaged over")
    mask_strength: Annotated[float, Field(gt=0, le=1)] | Column = Field(
        0.5, description="share of the steps that a picture is noised by to find the mask"
    )
    mask_yardstick: Yardstick = Field(
        Yardstick.PEAK, description="what the threshold is a multiple of: the disagreement's `peak`, or its `mean`"
    )
    mask_threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Column | None = Field(
        None, description="the mask is where the disagreement is above it; 0.5 peaks or 1.5 means unless given"
    )
    empty: Empty = Field(Empty.REJECT, description="what becomes of a row whose mask is empty: `reject` or `copy`")

    @property
    def defaults(self) -> dict[str, float]:
        """The threshold, by its yardstick."""
        return {"mask_threshold": _THRESHOLDS[self.mask_yardstick]}

    @property
    def picture_column(self) -> str | None:
        """Where pictures are read from: to invert them, or to compare their size with that of given masks."""
        return None if self.start is Start.INVERTED and self.mask is None else self.image

    @property
    def latents_column(self) -> str | None:
        """Where trajectories are read from, if an earlier step inverted."""
        return self.latents if self.start is Start.INVERTED else None

    @property
    def mask_column(self) -> str | None:
        """Where masks are read from, if they are."""
        return self.mask

    def chain(self, schema: pa.Schema, where: str = "") -> pa.Schema:
        """The schema after this step; also refuses unfit latents, with errors as in :meth:`Spec.chain`."""
        if self.start is Start.INVERTED:
            wanted: dict[str, Any] = {"model": self.model, "trajectory": "true"}
            constant = {} if isinstance(self.steps, Column) else {"steps": self.steps}
            check_inverted(schema, self.latents, wanted | constant, where)
        return super().chain(schema, where)

    def writes(self) -> dict[str, pa.DataType]:
        """As for all methods; with the masks, white where the picture may have changed."""
        return {**super().writes(), f"{self.output}_mask": columns.IMAGE}

    def load(
        self, step: str | None = None, batch_rows: int = 16, device: str | None = None, compiled: bool = False
    ) -> DiffEditor:
        """Load the model; arguments and errors as in :meth:`Spec.load`."""
        return DiffEditor(self, step, batch_rows, device, compiled)


class DiffEditor(Editor[DiffEdit]):
    """Loaded DiffEdit."""

    def group(self, prepared: EditRow) -> Hashable:
        """Also by how far rows go back."""
        return (super().group(prepared), *self._levels(prepared))

    def edited(self, batch: list[EditRow]) -> Edited:
        """Mask, trajectory, and the way back; rows of one source row share picture and trajectory."""
        from operators.diffusion.ddim import Ddim
        from operators.diffusion.masks import Blend
        from operators.diffusion.noise import row_generators

        ddim = Ddim(self._scheduler, batch[0].steps)
        top, level = self._levels(batch[0])
        sources, places = self._shared(batch)
        trajectory = self._trajectory(sources, ddim, top)[:, places]
        target = self._controls.encode(batch, [row.target or "" for row in batch])
        mask = self._mask(batch, trajectory[0], ddim, level)
        generators = row_generators(row.seed for row in batch)
        denoising = self._denoising(batch, ddim.sampling(top), self._guided(batch, target), generators)
        denoising.methods.append(Blend(mask, trajectory))
        latents = denoising(trajectory[top])
        covers = mask.flatten(1).any(1).tolist()
        errors: dict[int, RowError] = {}
        if self.spec.empty is Empty.REJECT:
            empty = MaskError("the mask is empty: the prompts ask for the same, or the given mask covers no latent")
            errors = {row: empty for row, some in enumerate(covers) if not some}
        return Edited(latents, {f"{self.spec.output}_mask": self._pictured(mask)}, errors)

    def check(self, row: EditRow) -> None:
        """Refuse strengths that leave no step, and latents that are no trajectory of so many steps."""
        for name in ("strength", "mask_strength"):
            share = row.options[name]
            if not 0 < share <= 1 or int(row.steps * share) < 1:
                raise ValueInvalidError(
                    f"{name} is {share}, but must be above 0, up to 1, and go back one of the steps"
                )
        if row.latents is not None and (row.latents.ndim != 4 or len(row.latents) != row.steps + 1):
            raise ValueInvalidError(
                f"the latents are {row.latents.shape}, but must be the trajectory of {row.steps} steps; "
                "`invert` gives it with `trajectory: true`"
            )

    def _levels(self, row: EditRow) -> tuple[int, int]:
        """Levels that the edit begins at and that the mask is found at."""
        return int(row.steps * row.options["strength"]), int(row.steps * row.options["mask_strength"])

    def _trajectory(self, sources: list[EditRow], ddim: Ddim, top: int) -> Tensor:
        """Latents ``(top + 1, n, c, h, w)`` of the pictures, from level 0."""
        import torch

        from operators.diffusion.loop import denoise
        from operators.diffusion.noise import row_generators
        from operators.diffusion.trajectory import Trajectory

        family = self._family
        given = [torch.tensor(row.latents[: top + 1]) for row in sources if row.latents is not None]
        if given:
            return torch.stack(given, 1).to(family.device, torch.float32)
        pixels = torch.stack([row.pixels for row in sources if row.pixels is not None])
        clean = family.encode_images(pixels, row_generators(row.seed for row in sources))
        predict = family.predictor(self._controls.encode(sources, [row.options["inversion_prompt"] for row in sources]))
        trajectory = Trajectory(clean)
        denoise(predict, ddim.inverting(top), clean, torch.ones(len(sources)), [], [trajectory])
        return trajectory.stacked

    def _mask(self, batch: list[EditRow], clean: Tensor, ddim: Ddim, level: int) -> Tensor:
        """Masks ``(n, 1, h, w)``: those given, or those that the prompts make."""
        import torch

        from operators.diffusion.masks import above, difference_map, peak, to_latents
        from operators.diffusion.noise import row_generators, row_noise

        family = self._family
        given = [row.mask for row in batch if row.mask is not None]
        if given:
            return to_latents(torch.stack(given).to(family.device), *clean.shape[-2:])
        generators = row_generators(row.seed for row in batch)
        noises = row_noise(generators, (self.spec.mask_maps, *clean.shape[1:]), family.device)
        source = self._controls.encode(batch, [row.prompt for row in batch])
        target = self._controls.encode(batch, [row.target or "" for row in batch])
        apart = (source.hidden != target.hidden).flatten(1).any(1)
        maps = difference_map(family.predictor(source, target), ddim, clean, noises, level)
        maps = maps * apart.view(-1, 1, 1)
        limits = peak(maps) if self.spec.mask_yardstick is Yardstick.PEAK else maps.mean((1, 2))
        return above(maps, limits * self._per_row([row.options["mask_threshold"] for row in batch]))

    def _pictured(self, mask: Tensor) -> pa.StructArray:
        """Masks at the size of the pictures."""
        from PIL import Image

        factor = self._family.factor
        grey = (mask[:, 0] * 255).byte().repeat_interleave(factor, 1).repeat_interleave(factor, 2).cpu().numpy()
        return encode_all([Image.fromarray(one) for one in grey])
