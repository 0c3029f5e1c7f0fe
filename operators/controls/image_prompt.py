"""Image variation: a picture in place of the text, for models that were trained so (Pinkney 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from operators.controls.base import Touches
from operators.controls.pictured import Pictured, PicturedSpec, Row

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion


class ImagePrompt(PicturedSpec):
    """Show what a picture shows, in other ways. For image variation models: give an empty prompt."""

    kind: ClassVar[str] = "image_prompt"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.PICTURE_PROMPT, Touches.OWN_MODEL})

    image: Annotated[str, Field(min_length=1)] = Field(
        "image", description="column of pictures, whose middle stands for the text"
    )

    @property
    def parts(self) -> tuple[str, ...]:
        """The image encoder."""
        return ("image_encoder",)

    def load(self, family: StableDiffusion, allow_pickle: bool) -> LoadedImagePrompt:  # noqa: ARG002
        """Load the image encoder; errors as in :meth:`ControlSpec.load`."""
        return LoadedImagePrompt(self, family)


class LoadedImagePrompt(Pictured[ImagePrompt]):
    """Embeddings of pictures as prompts.

    Raises:
        ModelError: the step's model takes text.
    """

    def __init__(self, spec: ImagePrompt, family: StableDiffusion) -> None:
        from operators.diffusion.image_encoder import ImageEncoder

        super().__init__(spec, family)
        if family.text_encoders:
            raise family.files.refuse("takes text: the control `image_prompt` is for image variation models")
        self._encoder = ImageEncoder(family.files, family.device, family.dtype)

    def shown(self, picture: Image, width: int, height: int) -> Tensor:  # noqa: ARG002
        """``(3, h, w)``, the picture as the image encoder takes it."""
        return self._encoder.viewed(picture)

    def join(self, denoising: Denoising, asked: list[Row]) -> None:
        """Put the pictures in the place of the rows' own prompts; nothing is kept away from."""
        import torch

        from operators.diffusion.prompts import Prompts

        embeddings = self._encoder(torch.stack([row["shown"] for row in asked]))
        denoising.prompts[denoising.conditional] = Prompts(embeddings[:, None].to(self.family.dtype))
