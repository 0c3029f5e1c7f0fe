"""Depth pictures, the brighter the nearer, by a depth model of transformers."""

from __future__ import annotations

from typing import Any, Literal

from PIL import Image
from pydantic import Field

from operators.condition.base import ModelCondition, ModelConditioner
from operators.models.loading import pick_device
from operators.models.ref import ModelRef


class Depth(ModelCondition):
    """Draw how near things are: white is the nearest of a picture, black the farthest."""

    method: Literal["depth"] = Field("depth", description="what to draw of a picture")
    depth_model: ModelRef = Field(description="a depth model of transformers")

    def models(self) -> tuple[ModelRef, ...]:
        """The depth model."""
        return (self.depth_model,)

    def conditioner(self) -> type[DepthConditioner]:
        """What draws."""
        return DepthConditioner


class DepthConditioner(ModelConditioner[Depth]):
    """A loaded depth model.

    Raises:
        ModelError: it can't be had, or is none.
    """

    def __init__(self, spec: Depth, step: str | None = None, batch_rows: int = 16, device: str | None = None) -> None:
        from operators.models.depth import DepthModel

        super().__init__(spec, step, batch_rows, device)
        (files,) = self._files
        self._model = DepthModel(files, pick_device(device))

    def drawn(self, pictures: list[Image.Image], options: list[dict[str, Any]]) -> list[Image.Image]:  # noqa: ARG002
        """Depth at every picture's size, of pictures that the model takes at one size together."""
        import torch
        from torch.nn import functional

        from operators.models.batches import by_shape
        from operators.models.depth import between

        made: list[Any] = [None] * len(pictures)
        with torch.no_grad():
            for rows, viewed in by_shape([self._model.viewed(picture) for picture in pictures]):
                for row, nearness in zip(rows, self._model(viewed), strict=True):
                    size = pictures[row].height, pictures[row].width
                    full = functional.interpolate(nearness[None, None], size=size, mode="bicubic", align_corners=False)
                    made[row] = Image.fromarray(between(full[0], 0.0, 255.0)[0].round().to(torch.uint8).cpu().numpy())
        return made
