"""Condition pictures by segmentation and pose models: what transformers makes of one picture, in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from skimage import data
from transformers import (
    AutoImageProcessor,
    SegformerForSemanticSegmentation,
    VitPoseForPoseEstimation,
    YolosForObjectDetection,
)

from operators import Column, columns
from operators.condition import Condition, Pose, Segmentation
from operators.condition.segmentation import colors
from operators.condition.skeleton import stick_figures
from operators.errors import ModelError
from operators.images import decode_all, encode_all
from operators.models.pose import PersonDetector, PoseModel
from tests.operators import tiny_conditions

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    tiny_conditions.segmentation_model(made / "segmentation")
    tiny_conditions.detector(made / "detector")
    tiny_conditions.pose_model(made / "pose")
    return made


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    astronaut = Image.fromarray(data.astronaut())
    return [astronaut.resize((120, 140)), astronaut.crop((100, 0, 400, 300)), astronaut.resize((90, 64))]


def drawn(spec: Condition, table: pa.Table) -> list[Any]:
    result = spec.load()(table)
    assert result[columns.ERROR].null_count == table.num_rows, result[columns.ERROR]
    return [np.asarray(picture) for picture in decode_all(result["condition_image"].combine_chunks())]


def test_classes_are_the_models_own_at_each_pictures_size(folder: Path, photos: list[Image.Image]) -> None:
    at = folder / "segmentation"
    processor: Any = AutoImageProcessor.from_pretrained(at)
    model: Any = SegformerForSemanticSegmentation.from_pretrained(at).eval()
    made = drawn(Segmentation(segmentation_model=str(at)), pa.table({"image": encode_all(photos)}))
    for picture, ours in zip(photos, made, strict=True):
        size = [(picture.height, picture.width)]
        with torch.no_grad():
            told = model(**processor(images=picture, return_tensors="pt"))
        [theirs] = processor.post_process_semantic_segmentation(told, target_sizes=size)
        assert (ours == colors(9)[theirs.numpy()]).all(-1).mean() > 0.999
        assert len(np.unique(theirs)) > 2
    [alone] = drawn(Segmentation(segmentation_model=str(at)), pa.table({"image": encode_all(photos[1:2])}))
    assert (alone == made[1]).mean() > 0.999


def test_colors_are_a_known_formulas_and_all_different() -> None:
    assert colors(6).tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert colors(9)[8].tolist() == [64, 0, 0]
    assert len(np.unique(colors(256), axis=0)) == 256


def test_joints_are_transformers_own(folder: Path, photos: list[Image.Image]) -> None:
    finds: Any = YolosForObjectDetection.from_pretrained(folder / "detector").eval()
    poses: Any = VitPoseForPoseEstimation.from_pretrained(folder / "pose").eval()
    seen, posed = (AutoImageProcessor.from_pretrained(folder / name) for name in ("detector", "pose"))
    spec = Pose(pose_model=str(folder / "pose"), detector=str(folder / "detector"))
    detector, pose = (
        kind(spec.files(model), CPU) for kind, model in ((PersonDetector, spec.detector), (PoseModel, spec.pose_model))
    )
    with torch.no_grad():
        boxes = detector(photos, [0.2, 0.3, 1.0])
        people = pose(photos, boxes, 2)
    assert len(boxes[2]) == 0
    assert people[2].shape == (0, 17, 3)
    for row, picture in enumerate(photos[:2]):
        with torch.no_grad():
            told = finds(**seen(images=picture, return_tensors="pt"))
            size = [(picture.height, picture.width)]
            [found] = seen.post_process_object_detection(told, threshold=[0.2, 0.3][row], target_sizes=size)
            corners = found["boxes"][found["labels"] == 0].numpy()
            theirs = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
            assert np.abs(theirs - boxes[row]).max() < 1e-2
            output = poses(**posed(images=picture, boxes=[theirs], return_tensors="pt"))
        [told_of] = posed.post_process_pose_estimation(output, boxes=[theirs])
        assert len(told_of) == len(people[row]) > 0
        for one, ours in zip(told_of, people[row], strict=True):
            assert np.abs(one["keypoints"].numpy() - ours[:, :2]).max() < 0.1
            assert np.abs(one["scores"].numpy() - ours[:, 2]).max() < 1e-3


def test_a_stick_figure_has_joints_and_limbs_where_they_are() -> None:
    joints = np.zeros((17, 3), np.float32)
    for number, place in {0: (100, 20), 5: (140, 60), 6: (60, 60), 8: (40, 120), 10: (30, 180)}.items():
        joints[number] = (*place, 0.9)
    joints[7] = (150, 120, 0.2)
    picture = np.asarray(stick_figures([joints], (200, 256), 0.5))
    assert picture.shape == (256, 200, 3)
    at = {place: tuple(picture[place[1], place[0]].tolist()) for place in [(100, 20), (100, 60), (60, 60), (140, 60)]}
    # Nose, neck between the shoulders, right shoulder, left shoulder: 20 degrees of hue further each.
    assert at == {(100, 20): (255, 0, 0), (100, 60): (255, 85, 0), (60, 60): (255, 170, 0), (140, 60): (85, 255, 0)}
    assert tuple(picture[60, 80].tolist()) == (153, 0, 0)
    assert tuple(picture[90, 50].tolist()) == (153, 102, 0)
    assert not picture[110:130, 140:160].any()
    assert not stick_figures([], (8, 8), 0.5).getbbox()


def test_a_pose_with_its_own_thresholds_is_the_same_alone(folder: Path, photos: list[Image.Image]) -> None:
    spec = Pose(
        pose_model=str(folder / "pose"),
        detector=str(folder / "detector"),
        person_threshold=Column(column="person"),
        joint_threshold=Column(column="joint"),
    )
    table = pa.table({"image": encode_all(photos), "person": [0.2, 0.3, 1.0], "joint": [0.0, -1.0, 0.0]})
    result = spec.load()(table)
    assert [error and error["code"] for error in result[columns.ERROR].to_pylist()] == [None, "value_invalid", None]
    table = table.set_column(2, "joint", pa.array([0.0, 0.001, 0.0]))
    together = drawn(spec, table)
    assert [picture.shape[1::-1] for picture in together] == [picture.size for picture in photos]
    assert together[0].any()
    assert not together[2].any()
    for row in range(3):
        [alone] = drawn(spec, table.slice(row, 1))
        assert (alone == together[row]).mean() > 0.999


def test_models_of_another_kind_are_refused(folder: Path, tmp_path: Path) -> None:
    pose, detector = str(folder / "pose"), str(folder / "detector")
    with pytest.raises(ModelError, match="which does not tell classes of things apart"):
        Segmentation(segmentation_model=pose).load()
    with pytest.raises(ModelError, match="is a VitPoseForPoseEstimation, which does not find objects"):
        Pose(pose_model=pose, detector=pose).load()
    with pytest.raises(ModelError, match="is a YolosForObjectDetection, which does not find joints"):
        Pose(pose_model=detector, detector=detector).load()
    with pytest.raises(ModelError, match="knows no `person`, only dog, cat"):
        Pose(pose_model=pose, detector=str(tiny_conditions.detector(tmp_path / "pets", ("dog", "cat")))).load()
    with pytest.raises(ModelError, match=r"finds 133 joints; this takes the 17 of COCO"):
        Pose(pose_model=str(tiny_conditions.pose_model(tmp_path / "whole", 133)), detector=detector).load()
    spec = Pose(pose_model=pose, detector=detector)
    assert spec.load().digests() == spec.digests()
    assert list(spec.digests()) == [pose, detector]
