"""Segmentation pictures: every class of things in a color of its own, by a segmentation model of transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from PIL import Image
from pydantic import Field

from operators.condition.base import ModelCondition, ModelConditioner
from operators.models.loading import check_architecture, load_network, load_processor, pick_device
from operators.models.ref import ModelRef

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Segmentation(ModelCondition):
    """Draw what is where: each of the model's classes in a color of its own."""

    method: Literal["segmentation"] = Field("segmentation", description="what to draw of a picture")
    segmentation_model: ModelRef = Field(description="a semantic segmentation model of transformers")

    def models(self) -> tuple[ModelRef, ...]:
        """The segmentation model."""
        return (self.segmentation_model,)

    def conditioner(self) -> type[SegmentationConditioner]:
        """What draws."""
        return SegmentationConditioner


class SegmentationConditioner(ModelConditioner[Segmentation]):
    """A loaded segmentation model.

    Raises:
        ModelError: it can't be had, or is none.
    """

    def __init__(
        self, spec: Segmentation, step: str | None = None, batch_rows: int = 16, device: str | None = None
    ) -> None:
        import torch
        from transformers import AutoModelForSemanticSegmentation

        super().__init__(spec, step, batch_rows, device)
        (files,) = self._files
        check_architecture(files, "ForSemanticSegmentation", "does not tell classes of things apart")
        self._processor = load_processor(files)
        self._device = pick_device(device)
        self._network = load_network(AutoModelForSemanticSegmentation, files, self._device, dtype=torch.float32)
        self._colors = colors(self._network.config.num_labels)

    def drawn(self, pictures: list[Image.Image], options: list[dict[str, Any]]) -> list[Image.Image]:  # noqa: ARG002
        """Classes at every picture's size, of pictures that the model takes at one size together."""
        import torch
        from torch.nn import functional

        from operators.models.batches import by_shape

        made: list[Any] = [None] * len(pictures)
        viewed = [self._processor(images=one, return_tensors="pt").pixel_values[0] for one in pictures]
        with torch.no_grad():
            for rows, batch in by_shape(viewed):
                for row, logits in zip(rows, self._network(batch.to(self._device)).logits, strict=True):
                    size = pictures[row].height, pictures[row].width
                    full = functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)
                    made[row] = Image.fromarray(self._colors[full[0].argmax(0).cpu().numpy()])
        return made


def colors(classes: int) -> NDArray[np.uint8]:
    """A color ``(classes, 3)`` for each class: bit ``3 i + k`` of its number is bit ``7 - i`` of channel ``k``.

    The first is black. So are the classes of PASCAL VOC shown (Everingham et al. 2010).
    """
    import numpy as np

    numbers = np.arange(classes)[:, None, None]
    channels, places = np.arange(3)[:, None], np.arange(8)
    found: NDArray[np.uint8] = ((numbers >> (3 * places + channels) & 1) << (7 - places)).sum(-1).astype(np.uint8)
    return found
