"""Stable unCLIP: a picture beside the text, by its noised CLIP embedding (Ramesh et al. 2022; Rombach et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from operators.base import Column, Kind
from operators.controls.base import Touches
from operators.controls.pictured import Pictured, PicturedSpec, Row
from operators.errors import RowError, ValueInvalidError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion


class UnCLIP(PicturedSpec):
    """Show what a picture shows, in other ways, and what the text says. For stable unCLIP models, which need it."""

    kind: ClassVar[str] = "unclip"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.LABELS, Touches.OWN_MODEL})
    per_row: ClassVar[dict[str, Kind]] = {"noise_level": Kind.INTEGER}

    image: Annotated[str, Field(min_length=1)] = Field("image", description="column of pictures, whose middle is shown")
    noise_level: Annotated[int, Field(ge=0)] | Column = Field(
        0, description="noise on the picture's embedding, up to the model's number of timesteps; more for less alike"
    )

    @property
    def parts(self) -> tuple[str, ...]:
        """The image encoder, and what its embeddings are brought to a common scale with."""
        return ("image_encoder", "image_normalizer")

    def load(self, family: StableDiffusion, allow_pickle: bool) -> LoadedUnCLIP:  # noqa: ARG002
        """Load the image encoder; errors as in :meth:`ControlSpec.load`."""
        return LoadedUnCLIP(self, family)


class LoadedUnCLIP(Pictured[UnCLIP]):
    """Noised embeddings of pictures as labels.

    Raises:
        ModelError: the step's model lacks a part.
    """

    def __init__(self, spec: UnCLIP, family: StableDiffusion) -> None:
        from operators.diffusion.image_encoder import ImageEncoder
        from operators.diffusion.unclip import EmbeddingNoise

        super().__init__(spec, family)
        self._encoder = ImageEncoder(family.files, family.device, family.dtype)
        self._noise = EmbeddingNoise(family.files, family.device)

    def prepare(self, table: pa.Table, texts: Sequence[tuple[str, ...] | None]) -> list[Row | RowError]:
        """Options of the rows, those refused whose noise the model does not have."""
        return [self._in_range(row) for row in super().prepare(table, texts)]

    def shown(self, picture: Image, width: int, height: int) -> Tensor:  # noqa: ARG002
        """``(3, h, w)``, the picture as the image encoder takes it."""
        return self._encoder.viewed(picture)

    def join(self, denoising: Denoising, asked: list[Row]) -> None:
        """Tell the network of the pictures; noise is drawn behind that of the latents."""
        import torch

        from operators.diffusion.unclip import Labels

        embeddings = self._encoder(torch.stack([row["shown"] for row in asked])).float()
        levels = torch.tensor([row["noise_level"] for row in asked], device=self.family.device)
        noised = self._noise(embeddings, levels, denoising.generators).to(self.family.dtype)
        denoising.conditionings.append(Labels(noised, (0,) if denoising.guided else ()))

    def _in_range(self, row: Row | RowError) -> Row | RowError:
        most = self._noise.levels - 1
        if isinstance(row, RowError) or row["noise_level"] <= most:
            return row
        return ValueInvalidError(f"noise_level is {row['noise_level']}, but this model has 0..{most}")
