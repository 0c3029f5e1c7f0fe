"""Poses: everybody in a picture as a stick figure, by a detector and ViTPose (Xu et al. 2022)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from PIL import Image
from pydantic import Field

from operators.base import Column, Kind
from operators.condition.base import ModelCondition, ModelConditioner, check_installed
from operators.models.loading import pick_device
from operators.models.ref import ModelRef

Share = Annotated[float, Field(ge=0, le=1)] | Column


class Pose(ModelCondition):
    """Draw everybody as a stick figure in the colors of OpenPose, on black."""

    per_row: ClassVar[dict[str, Kind]] = {"person_threshold": Kind.NUMBER, "joint_threshold": Kind.NUMBER}

    method: Literal["pose"] = Field("pose", description="what to draw of a picture")
    pose_model: ModelRef = Field(description="a ViTPose model, of the 17 joints of COCO")
    detector: ModelRef = Field(description="finds people: an object detection model of transformers")
    person_threshold: Share = Field(0.5, description="how sure the detector is of a person, at least")
    joint_threshold: Share = Field(0.3, description="how sure the pose model is of a joint, at least")

    def models(self) -> tuple[ModelRef, ...]:
        """The pose model and the detector."""
        return self.pose_model, self.detector

    def conditioner(self) -> type[PoseConditioner]:
        """What draws."""
        return PoseConditioner


class PoseConditioner(ModelConditioner[Pose]):
    """A loaded pose model, with its detector.

    Raises:
        ModelError: one can't be had, or is of another kind; a library that the pose model needs isn't installed.
    """

    def __init__(self, spec: Pose, step: str | None = None, batch_rows: int = 16, device: str | None = None) -> None:
        check_installed()
        from operators.models.pose import PersonDetector, PoseModel

        super().__init__(spec, step, batch_rows, device)
        pose, detector = self._files
        self._detector = PersonDetector(detector, pick_device(device))
        self._model = PoseModel(pose, pick_device(device))

    def drawn(self, pictures: list[Image.Image], options: list[dict[str, Any]]) -> list[Image.Image]:
        """The stick figures of everybody in every picture."""
        import torch

        from operators.condition.skeleton import stick_figures

        with torch.no_grad():
            boxes = self._detector(pictures, [row["person_threshold"] for row in options])
            people = self._model(pictures, boxes, self.batch_rows)
        return [
            stick_figures(one, picture.size, row["joint_threshold"])
            for one, picture, row in zip(people, pictures, options, strict=True)
        ]
