"""``invert``: from pictures back to the noise that a diffusion model makes them of (DDIM, Song et al. 2021)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import pyarrow as pa
from pydantic import AfterValidator, Field, model_validator

from operators import columns
from operators.base import Column, Kind, Produced, column_options, required
from operators.diffusion.operator import DiffusionOperator, check_finite
from operators.diffusion.sizes import LEAST_LATENTS, check_picture, check_size
from operators.diffusion.spec import DiffusionSpec, Side
from operators.errors import NotFiniteError, RowError
from operators.images import MAX_PIXELS, decode_all
from operators.tensors import pack

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from operators.diffusion.ddim import Ddim
    from operators.diffusion.predictor import Predictor

_OPTION_KINDS = {
    "prompt": Kind.TEXT,
    "negative_prompt": Kind.TEXT,
    "guidance_scale": Kind.NUMBER,
    "steps": Kind.INTEGER,
    "width": Kind.INTEGER,
    "height": Kind.INTEGER,
    "seed": Kind.INTEGER,
}
_HIGHEST_PSNR = 120.0


class Inversion(StrEnum):
    """How the way back to noise is found."""

    PLAIN = "plain"
    """The noise at one level stands for that at the next."""
    REGULARISED = "regularised"
    """The same, with the noise kept white (Pix2Pix Zero, Parmar et al. 2023)."""
    EXACT = "exact"
    """The noise is the one that leads back to the picture."""


_OPTIONS_OF = {
    Inversion.REGULARISED: ("lambda_auto_correlation", "lambda_kl", "regularisation_steps", "regularisation_rolls"),
    Inversion.EXACT: ("tolerance", "max_iterations"),
}


def _ddim_only(name: str) -> str:
    if name not in ("ddim", "DDIMScheduler"):
        raise ValueError(f"inversion is right with DDIM alone, not with scheduler {name!r}: leave `scheduler` out")
    return name


class Invert(DiffusionSpec):
    """Find the noise that a model, told what a picture shows, makes the picture of."""

    kind: ClassVar[str] = "invert"

    image: Annotated[str, Field(min_length=1)] = Field(
        "image", description="column of pictures, scaled and cropped to width x height"
    )
    prompt: str | Column = Field(Column(column="caption"), description="what the picture shows")
    negative_prompt: str | Column = Field("", description="what it does not; has no effect without guidance")
    guidance_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Column = Field(
        1.0,
        description="how closely to follow the prompt, 1 or less for no guidance; that of the way back to a picture",
    )
    steps: Annotated[int, Field(ge=1)] | Column = Field(50, description="steps from picture to noise")
    width: Side = Field(None, description="pixels; the model's own unless given")
    height: Side = Field(None, description="pixels; the model's own unless given")
    seed: int | Column | None = Field(None, description="as in torch.Generator().manual_seed; the row's unless given")
    method: Inversion = Field(
        Inversion.PLAIN,
        description="plain; regularised, to noise that is easier to edit; or exact, to noise that leads back",
    )
    trajectory: bool = Field(False, description="keep the latents of all levels, from the picture to noise")
    reconstruction: bool = Field(
        True, description="make the picture again, as many steps once more, and add OUTPUT_psnr: how near it comes"
    )
    lambda_auto_correlation: float = Field(
        20.0, ge=0, allow_inf_nan=False, description="of regularised: weight of independence from place to place"
    )
    lambda_kl: float = Field(
        20.0, ge=0, allow_inf_nan=False, description="of regularised: weight of mean 0 and variance 1"
    )
    regularisation_steps: int = Field(5, ge=1, description="of regularised: rounds for every step")
    regularisation_rolls: int = Field(5, ge=1, description="of regularised: distances compared in every round")
    tolerance: float = Field(
        1e-3, gt=0, allow_inf_nan=False, description="of exact: the last correction is below it, in standard deviations"
    )
    max_iterations: int = Field(10, ge=1, description="of exact: evaluations of the network for a step, at the most")
    scheduler: Annotated[str, AfterValidator(_ddim_only)] | None = Field(None, description="ddim, if anything")
    output: Annotated[str, Field(min_length=1)] = Field(
        "inverted_latents", description="column to add, with OUTPUT_truncated and OUTPUT_psnr beside it"
    )
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="a picture with more pixels is rejected")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for method, options in _OPTIONS_OF.items():
            for name in options:
                if self.method is not method and getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is an option of method {method.value}, not of {self.method.value}")
        return self

    def reads(self) -> dict[str, Kind]:
        """The pictures, and the columns that options name."""
        return {self.image: Kind.IMAGE, **column_options(self, _OPTION_KINDS)}

    def writes(self) -> dict[str, pa.DataType]:
        """The latents, what of the texts the model did not take in, and how near the latents lead back."""
        written = {self.output: columns.TENSOR, f"{self.output}_truncated": columns.TEXT}
        return {**written, f"{self.output}_psnr": pa.float32()} if self.reconstruction else written

    def describes(self) -> dict[str, dict[str, str]]:
        """What the latents were made with, where that is the same in every row."""
        made_with = {"model": str(self.model), "method": self.method.value, "trajectory": str(self.trajectory).lower()}
        same = {name: getattr(self, name) for name in ("steps", "guidance_scale")}
        shown = {name: str(value) for name, value in same.items() if not isinstance(value, Column)}
        return {self.output: made_with | shown}

    def load(
        self, step: str | None = None, batch_rows: int = 16, device: str | None = None, compiled: bool = False
    ) -> Inverter:
        """Load the model; arguments and errors as in :meth:`Spec.load`."""
        return Inverter(self, step, batch_rows, device, compiled)


@dataclass(frozen=True)
class Source:
    """What one row asks for; ``pixels`` is ``(3, height, width)`` in -1..1."""

    prompt: str
    negative_prompt: str
    guidance_scale: float
    steps: int
    width: int
    height: int
    seed: int
    pixels: Tensor


class Inverter(DiffusionOperator[Invert, Source]):
    """A loaded inverter.

    Raises:
        ModelError: the model can't be had, is no Stable Diffusion, or takes more than latents.
    """

    def __init__(
        self,
        spec: Invert,
        step: str | None = None,
        batch_rows: int = 16,
        device: str | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__(spec, step, batch_rows, device, compiled)
        self._defaults = {"width": self._family.size, "height": self._family.size}

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Source | RowError]:
        """Check what every row asks for, and decode its picture to the size it asks for."""
        per_option = [self._values(name, table) for name in _OPTION_KINDS]
        asked = [dict(zip(_OPTION_KINDS, row, strict=True)) for row in zip(*per_option, strict=True)]
        prepared: list[Source | RowError] = []
        for first in range(0, table.num_rows, self.batch_rows):
            part = table.slice(first, self.batch_rows)[self.spec.image].combine_chunks()
            for picture in decode_all(part, max_pixels=self.spec.max_pixels):
                row = len(prepared)
                prepared.append(self._source(asked[row], picture, seeds[row]))
        return prepared

    def group(self, prepared: Source) -> Hashable:
        """Rows that take the same steps at the same size with the same number of passes."""
        return (prepared.steps, prepared.width, prepared.height, prepared.guidance_scale > 1)

    def run(self, batch: list[Source]) -> Produced:
        """Invert a batch of rows of one group."""
        import torch

        with torch.no_grad():
            clean, inverted = self.inverted(batch)
            kept = inverted.half()
            finite = kept.isfinite().flatten(1).all(1).tolist()
            noise = kept if kept.ndim == clean.ndim else kept[:, -1]
            written: dict[str, Sequence[Any] | pa.Array] = {
                self.spec.output: pack(list(kept.cpu().numpy())),
                f"{self.spec.output}_truncated": self._family.truncated(
                    [(source.prompt, source.negative_prompt) for source in batch]
                ),
            }
            if self.spec.reconstruction:
                written[f"{self.spec.output}_psnr"] = self._psnr(batch, clean, noise.float()).tolist()
        errors: dict[int, RowError] = {
            row: NotFiniteError("the latents became NaN or infinite") for row, good in enumerate(finite) if not good
        }
        return Produced(written, errors)

    def inverted(self, batch: list[Source]) -> tuple[Tensor, Tensor]:
        """The encoded pictures ``(n, c, h, w)`` of rows of one group, and what they are inverted to.

        That is ``(n, c, h, w)``, or with a trajectory ``(n, steps + 1, c, h, w)``; both in single precision.
        """
        import torch

        from operators.diffusion.inversion import invert_exactly
        from operators.diffusion.loop import Method, denoise
        from operators.diffusion.noise import row_generators
        from operators.diffusion.regularisation import Regularisation
        from operators.diffusion.trajectory import Trajectory

        spec = self.spec
        generators = row_generators(source.seed for source in batch)
        clean = self._family.encode_images(torch.stack([source.pixels for source in batch]), generators)
        predict, ddim, guidance_scale = self._way(batch)
        trajectory = Trajectory(clean)
        methods: list[Method] = [trajectory] if spec.trajectory else []
        if spec.method is Inversion.EXACT:
            noise = invert_exactly(
                predict, ddim, clean, guidance_scale, spec.tolerance, spec.max_iterations, methods=methods
            )
        else:
            if spec.method is Inversion.REGULARISED:
                methods.append(
                    Regularisation(
                        generators,
                        spec.lambda_auto_correlation,
                        spec.lambda_kl,
                        spec.regularisation_steps,
                        spec.regularisation_rolls,
                    )
                )
            noise = denoise(predict, ddim.inverting(), clean, guidance_scale, generators, methods)
        return clean, trajectory.stacked.transpose(0, 1) if spec.trajectory else noise

    def _psnr(self, batch: list[Source], clean: Tensor, noise: Tensor) -> Tensor:
        """Decibels between the pictures that clean latents are and those that the noise becomes: ``(n,)``."""
        from operators.diffusion.loop import denoise

        predict, ddim, guidance_scale = self._way(batch)
        back = denoise(predict, ddim.sampling(), noise, guidance_scale, [])
        error = (self._family.decode(back) - self._family.decode(clean)).square().mean((1, 2, 3))
        return (-10 * error.log10()).clamp(max=_HIGHEST_PSNR)

    def _way(self, batch: list[Source]) -> tuple[Predictor, Ddim, Tensor]:
        from operators.diffusion.ddim import Ddim

        family, first = self._family, batch[0]
        prompts = [family.encode_prompts([source.prompt for source in batch])]
        if first.guidance_scale > 1:
            prompts.insert(0, family.encode_negative_prompts([source.negative_prompt for source in batch]))
        guidance_scale = self._per_row([source.guidance_scale for source in batch])
        return family.predictor(*prompts), Ddim(family.scheduler, first.steps), guidance_scale

    def _source(self, asked: dict[str, Any], picture: Image | RowError, row_seed: int) -> Source | RowError:
        from operators.diffusion.rendering import fitted

        if isinstance(picture, RowError):
            return picture
        try:
            given = {name: required(value, name) for name, value in asked.items() if name != "seed"}
            seed = row_seed if self.spec.seed is None else required(asked["seed"], "seed")
            check_finite(given)
            check_size(given["width"], given["height"], self._family.factor, LEAST_LATENTS)
            check_picture(*picture.size, self._family.factor)
        except RowError as error:
            return error
        return Source(**given, seed=seed, pixels=fitted(picture, given["width"], given["height"]))
