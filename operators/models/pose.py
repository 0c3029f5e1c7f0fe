"""Where people are in pictures, and where their joints, by networks of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModelForObjectDetection, VitPoseForPoseEstimation
from transformers.models.vitpose.modeling_vitpose import VitPoseEstimatorOutput

from operators.models.batches import by_shape
from operators.models.loading import ModelFiles, check_architecture, load_network, load_processor

JOINTS = 17
"""Of COCO (Lin et al. 2014): nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles, left before right."""

Boxes = NDArray[np.float32]
"""``(k, 4)``, the left, top, width and height of each person in pixels."""


class PersonDetector:
    """A loaded object detection model that knows persons.

    Args:
        files: of the model.
        device: where it runs.

    Raises:
        ModelError: it is another kind of model, or knows no persons.
    """

    def __init__(self, files: ModelFiles, device: torch.device) -> None:
        check_architecture(files, "ForObjectDetection", "does not find objects")
        self._processor = load_processor(files)
        self._network = load_network(AutoModelForObjectDetection, files, device, dtype=torch.float32)
        self._device = device
        labels = self._network.config.id2label
        self._persons = [number for number, name in labels.items() if name.lower() == "person"]
        if not self._persons:
            raise files.refuse(f"knows no `person`, only {', '.join(list(labels.values())[:5])}, ...")

    def __call__(self, pictures: Sequence[Image.Image], thresholds: Sequence[float]) -> list[Boxes]:
        """The persons in every picture that are more likely than its threshold in 0..1."""
        found: list[Any] = [None] * len(pictures)
        viewed = [self._processor(images=picture, return_tensors="pt").pixel_values[0] for picture in pictures]
        for rows, batch in by_shape(viewed):
            told = self._network(batch.to(self._device))
            sizes = [(pictures[row].height, pictures[row].width) for row in rows]
            objects = self._processor.post_process_object_detection(told, threshold=0.0, target_sizes=sizes)
            for row, one in zip(rows, objects, strict=True):
                wanted = (one["scores"] > thresholds[row]) & torch.isin(
                    one["labels"], torch.tensor(self._persons, device=self._device)
                )
                corners = one["boxes"][wanted].cpu().numpy().astype(np.float32)
                found[row] = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        return found


class PoseModel:
    """A loaded ViTPose.

    Args:
        files: of the model.
        device: where it runs.

    Raises:
        ModelError: it is another kind of model, or one of other joints.
    """

    def __init__(self, files: ModelFiles, device: torch.device) -> None:
        check_architecture(files, VitPoseForPoseEstimation.__name__, "does not find joints as ViTPose does")
        self._processor = load_processor(files)
        self._network = load_network(VitPoseForPoseEstimation, files, device, dtype=torch.float32)
        self._device = device
        if self._network.config.num_labels != JOINTS:
            raise files.refuse(f"finds {self._network.config.num_labels} joints; this takes the {JOINTS} of COCO")

    def __call__(
        self, pictures: Sequence[Image.Image], boxes: Sequence[Boxes], at_once: int
    ) -> list[NDArray[np.float32]]:
        """Joints ``(k, 17, 3)`` of the ``k`` people in every picture: x and y in pixels, and how sure, 0..1.

        Args:
            pictures: that they are in.
            boxes: where they are.
            at_once: people that the network is given together.
        """
        crops = [
            self._processor(images=picture, boxes=[people.tolist()], return_tensors="pt").pixel_values
            for picture, people in zip(pictures, boxes, strict=True)
            if len(people)
        ]
        if not crops:
            return [np.zeros((0, JOINTS, 3), np.float32) for _ in boxes]
        parts = torch.split(torch.cat(crops), at_once)
        heatmaps = torch.cat([self._heatmaps(part) for part in parts])
        ends = accumulate(map(len, boxes), initial=0)
        return [
            self._joints(heatmaps[first:end], people)
            for (first, end), people in zip(pairwise(ends), boxes, strict=True)
        ]

    def _heatmaps(self, crops: torch.Tensor) -> torch.Tensor:
        experts = {}
        if self._network.config.backbone_config.num_experts > 1:
            # The expert that was trained on COCO is the first.
            experts = {"dataset_index": torch.zeros(len(crops), dtype=torch.long, device=self._device)}
        heatmaps: torch.Tensor = self._network(crops.to(self._device), **experts).heatmaps
        return heatmaps

    def _joints(self, heatmaps: torch.Tensor, boxes: Boxes) -> NDArray[np.float32]:
        if not len(boxes):
            return np.zeros((0, JOINTS, 3), np.float32)
        given = VitPoseEstimatorOutput(heatmaps=heatmaps)
        [people] = self._processor.post_process_pose_estimation(given, boxes=[boxes])
        joined = [np.concatenate([one["keypoints"], one["scores"][:, None]], 1) for one in people]
        return np.stack(joined).astype(np.float32)
