"""Scores: those of scikit-image, SciPy, transformers and the papers' formulas, the same in any company."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file
from scipy import ndimage
from skimage.metrics import structural_similarity
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel, ViTModel

import operators.models.builtin as builtin
from operators import Column, Score, columns
from operators.errors import ModelError
from operators.images import encode_all
from operators.models.builtin.scenes import COLOURS, draw, masks, scene
from operators.score import Lpips, Metric
from operators.score.perceptual import ReleasedLpips
from operators.score.vision import VisionTransformer
from tests.operators import tiny_vision

CLIP = Path(builtin.__file__).parent / "clip"
PIE = {"preset": "pie_bench", "clip": "builtin:clip", "dino": "builtin:clip", "lpips": "builtin:clip"}
ALL = [metric for metric in Metric if metric is not Metric.AESTHETICS]
BEFORE = [scene(index, 2) for index in range(5)]


def another(colour: str, *taken: str) -> str:
    return next(name for name in COLOURS if name not in (colour, *taken))


AFTER = [replace(item, colour=another(item.colour, item.background)) for item in BEFORE]
MOVED = [replace(item, angle=item.angle + 0.2, radius=item.radius + 1) for item in AFTER]
"""What an edit also changed where it should not have."""

before, after, inside = draw(BEFORE), draw(MOVED), masks(BEFORE)
source_prompts, target_prompts = [item.caption for item in BEFORE], [item.caption for item in AFTER]


def pictured(masks: NDArray[np.bool_]) -> pa.StructArray:
    return encode_all([Image.fromarray(mask.astype(np.uint8) * 255) for mask in masks])


def table() -> pa.Table:
    return pa.table(
        {
            "image": encode_all(before),
            "edited_image": encode_all(after),
            "mask": pictured(inside),
            "caption": source_prompts,
            "edited_image_prompt": target_prompts,
        }
    )


def scored(rows: pa.Table, **options: Any) -> dict[str, NDArray[np.float32]]:
    spec = Score(**options)
    found = spec.load()(rows)
    assert found[columns.ERROR].null_count == len(rows)
    return {name: found[name].to_numpy() for name in spec.writes()}


@pytest.fixture(scope="module")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision.vit(tmp_path_factory.mktemp("models") / "vit")


@pytest.fixture(scope="module")
def clip() -> CLIPModel:
    return CLIPModel.from_pretrained(CLIP)


def unit(vectors: torch.Tensor) -> NDArray[np.float64]:
    found = vectors.detach().double().numpy()
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def seen(clip: CLIPModel, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    processor = CLIPImageProcessorPil.from_pretrained(CLIP)
    pixels = processor([Image.fromarray(picture) for picture in pictures], return_tensors="pt")
    return unit(clip.get_image_features(**pixels).pooler_output)


def read(clip: CLIPModel, texts: list[str]) -> NDArray[np.float64]:
    tokens = AutoTokenizer.from_pretrained(CLIP)(texts, padding=True, return_tensors="pt")
    return unit(clip.get_text_features(**tokens).pooler_output)


def test_clip_scores_are_cosines_of_transformers_embeddings(clip: CLIPModel) -> None:
    names = ["clip_source", "clip_target", "clip_image", "clip_direction", "clip_edited"]
    got = scored(table(), metrics=names, mask="mask")
    first, last, said, wanted = (
        seen(clip, before),
        seen(clip, after),
        read(clip, source_prompts),
        read(clip, target_prompts),
    )
    moved, told = last - first, wanted - said
    direction = (moved * told).sum(1) / np.linalg.norm(moved, axis=1) / np.linalg.norm(told, axis=1)
    part = seen(clip, after * inside[..., None])
    expected = [(first * said).sum(1), (last * wanted).sum(1), (first * last).sum(1), direction, (part * wanted).sum(1)]
    for name, values in zip(names, expected, strict=True):
        np.testing.assert_allclose(got[name], values, atol=1e-4, err_msg=name)


def test_scores_of_the_background_are_means_over_what_is_outside() -> None:
    got = scored(table(), metrics=["background_mse", "background_psnr", "background_ssim"], mask="mask")
    for row, (first, last, mask) in enumerate(zip(before / 255, after / 255, inside, strict=True)):
        error = np.square(first - last)[~mask].mean()
        whole = np.where(mask[..., None], first, last)
        _, similar = structural_similarity(first, whole, **SSIM, full=True)
        inner = (slice(5, -5), slice(5, -5))
        assert got["background_mse"][row] == pytest.approx(error, rel=1e-4)
        assert got["background_psnr"][row] == pytest.approx(10 * np.log10(1 / error), rel=1e-4)
        assert got["background_ssim"][row] == pytest.approx(similar[inner][~mask[inner]].mean(), abs=1e-4)


SSIM: dict[str, Any] = {
    "gaussian_weights": True,
    "sigma": 1.5,
    "use_sample_covariance": False,
    "data_range": 1.0,
    "channel_axis": 2,
}


def test_without_masks_all_is_background() -> None:
    got = scored(table(), metrics=["background_mse", "background_ssim"])
    for row, (first, last) in enumerate(zip(before / 255, after / 255, strict=True)):
        assert got["background_mse"][row] == pytest.approx(np.square(first - last).mean(), rel=1e-4)
        assert got["background_ssim"][row] == pytest.approx(structural_similarity(first, last, **SSIM), abs=1e-4)


def test_the_mask_that_an_edit_leaves_is_taken() -> None:
    rows = table().rename_columns(["image", "edited_image", "edited_image_mask", "caption", "edited_image_prompt"])
    spec = Score(metrics=["background_mse"]).settled(rows.schema)
    assert spec.mask == "edited_image_mask"
    assert spec.load()(rows)["background_mse"].equals(
        Score(metrics=["background_mse"], mask="mask").load()(table())["background_mse"]
    )


def keys_of(model: ViTModel, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    hidden = model(torch.tensor(pixels).float(), output_hidden_states=True).hidden_states[-2]
    last = model.layers[-1]
    return unit(last.attention.k_proj(last.layernorm_before(hidden)))


def distances(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> list[float]:
    return [np.square(a @ a.T - b @ b.T).mean() for a, b in zip(ours, theirs, strict=True)]


def test_structure_is_the_distance_of_the_self_similarities_of_keys(vit_folder: Path) -> None:
    got = scored(table(), metrics=["structure"], dino=str(vit_folder))["structure"]
    model = ViTModel.from_pretrained(vit_folder)
    size = (tiny_vision.SIDE, tiny_vision.SIDE)
    shown = [
        np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in pictures])
        for pictures in (before, after)
    ]
    ours, theirs = (keys_of(model, (pixels / 255 - 0.5).transpose(0, 3, 1, 2) / 0.5) for pixels in shown)
    expected = distances(ours, theirs)
    np.testing.assert_allclose(got, expected, rtol=1e-3)
    assert min(expected) > 1e-4


def layers_of(clip: CLIPModel, pictures: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    processor = CLIPImageProcessorPil.from_pretrained(CLIP)
    pixels = processor(list(pictures), return_tensors="pt").pixel_values
    return [unit(layer[:, 1:]) for layer in clip.vision_model(pixels, output_hidden_states=True).hidden_states[1:]]


def test_perceptual_distance_on_a_transformer_is_the_formula(clip: CLIPModel) -> None:
    got = scored(table(), metrics=["background_lpips"], mask="mask")["background_lpips"]
    whole = np.where(inside[..., None], before, after)
    pairs = zip(layers_of(clip, before), layers_of(clip, whole), strict=True)
    apart = sum(np.square(ours - theirs).sum(2).mean(1) for ours, theirs in pairs)
    np.testing.assert_allclose(got, apart / (~inside).mean((1, 2)), rtol=1e-3)


def halved(pictures: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Bilinear sampling at the centres of pixels of another size, without smoothing."""
    at = (np.arange(side) + 0.5) * pictures.shape[-1] / side - 0.5
    grid = np.stack(np.meshgrid(at, at, indexing="ij"))
    planes = [[ndimage.map_coordinates(plane, grid, order=1, mode="nearest") for plane in one] for one in pictures]
    return np.array(planes)


def test_the_preset_is_pie_benchs_definitions(clip: CLIPModel, vit_folder: Path) -> None:
    got = scored(table(), **{**PIE, "dino": str(vit_folder)})
    black = [pictures * ~inside[..., None] for pictures in (before, after)]
    for row, (first, last) in enumerate(zip(black[0] / 255, black[1] / 255, strict=True)):
        error = np.square(first - last).mean()
        assert got["background_mse"][row] == pytest.approx(error, rel=1e-4)
        assert got["background_psnr"][row] == pytest.approx(10 * np.log10(1 / error), rel=1e-4)
        assert got["background_ssim"][row] == pytest.approx(structural_similarity(first, last, **SSIM), abs=1e-4)
    pairs = zip(layers_of(clip, black[0]), layers_of(clip, black[1]), strict=True)
    apart = sum(np.square(ours - theirs).sum(2).mean(1) for ours, theirs in pairs)
    np.testing.assert_allclose(got["background_lpips"], apart, rtol=1e-3)
    np.testing.assert_allclose(got["clip_target"], (seen(clip, after) * read(clip, target_prompts)).sum(1), atol=1e-4)
    model = ViTModel.from_pretrained(vit_folder)
    mean, deviation = (np.array(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    ours, theirs = (
        keys_of(model, (halved(pictures.transpose(0, 3, 1, 2).astype(float), tiny_vision.SIDE) - mean) / deviation)
        for pictures in (before, after)
    )
    np.testing.assert_allclose(got["structure"], distances(ours, theirs), rtol=5e-3)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    blurred = np.stack([ndimage.gaussian_filter(picture, (1, 1, 0)) for picture in before])
    for pictures in (before, blurred):
        got = scored(pa.table({"edited_image": encode_all(pictures)}), metrics=["sharpness"])["sharpness"]
        grey = pictures @ np.array([0.299, 0.587, 0.114])
        np.testing.assert_allclose(got, [ndimage.laplace(one, mode="mirror").var() for one in grey], rtol=1e-3)


def test_aesthetics_are_linear_layers_on_clips_embedding(clip: CLIPModel, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = torch.nn.ModuleDict({"layers": torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Linear(8, 1))})
    save_file(layers.state_dict(), tmp_path / "model.safetensors")
    got = scored(table(), metrics=["aesthetics"], aesthetics=str(tmp_path))["aesthetics"]
    wanted = layers["layers"](torch.tensor(seen(clip, after)).float()).flatten()
    np.testing.assert_allclose(got, wanted.detach(), atol=1e-4)
    save_file({"layers.0.weight": torch.zeros(1, 9)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="no linear layers that lead from CLIP's 64 numbers to one"):
        Score(metrics=["aesthetics"], aesthetics=str(tmp_path)).load()


@pytest.mark.parametrize("preset", [{}, PIE], ids=["plain", "pie_bench"])
def test_a_row_has_the_same_scores_alone(preset: dict[str, Any]) -> None:
    spec = Score(metrics=ALL, mask="mask", **preset)
    operator, rows = spec.load(), table()
    together = operator(rows)
    for row in range(len(rows)):
        alone = operator(rows.slice(row, 1))
        for name in spec.writes():
            assert alone[name][0].as_py() == pytest.approx(together[name][row].as_py(), rel=1e-4, abs=1e-4), name


def test_what_is_undefined_is_null_and_never_nan() -> None:
    rows = table().to_pydict()
    rows["caption"][0] = rows["edited_image_prompt"][1] = rows["mask"][2] = None
    rows["mask"][3] = pictured(np.ones((1, 64, 64), bool))[0].as_py()
    rows["edited_image"][4], rows["edited_image_prompt"][4] = rows["image"][4], rows["caption"][4]
    rows["mask"][4] = pictured(np.zeros((1, 64, 64), bool))[0].as_py()
    spec = Score(metrics=ALL, mask="mask")
    found = spec.load()(pa.Table.from_pydict(rows, table().schema))
    assert found[columns.ERROR].null_count == 5
    background = {"background_lpips", "background_ssim", "background_psnr", "background_mse"}
    expected = [
        {"clip_source", "clip_direction"},
        {"clip_target", "clip_direction", "clip_edited"},
        background | {"clip_edited"},
        background,
        {"clip_direction", "clip_edited"},
    ]
    undefined = [{name for name in spec.writes() if found[name][row].as_py() is None} for row in range(5)]
    assert undefined == expected
    assert not any(np.isnan(value) for name in spec.writes() for value in found[name].drop_null().to_pylist())
    assert found["background_psnr"][4].as_py() == 100


def test_bad_rows_are_rejected_alone() -> None:
    rows = table().to_pydict()
    rows["image"][1]["bytes"] = b"text"
    rows["mask"][2] = pictured(np.ones((1, 32, 32), bool))[0].as_py()
    rows["edited_image"][3] = None
    found = Score(metrics=ALL, mask="mask").load()(pa.Table.from_pydict(rows, table().schema))
    codes = [error and error["code"] for error in found[columns.ERROR].to_pylist()]
    assert codes == [None, "image_undecodable", "mask_invalid", "image_missing", None]


def test_a_source_of_another_size_is_brought_to_that_of_the_edit() -> None:
    large = np.repeat(np.repeat(before, 3, 1), 3, 2)
    wide = np.pad(large, ((0, 0), (0, 0), (30, 30), (0, 0)))
    covers = np.pad(np.repeat(np.repeat(inside, 3, 1), 3, 2), ((0, 0), (0, 0), (30, 30)))
    rows = table().set_column(0, "image", encode_all(wide)).set_column(2, "mask", pictured(covers))
    ours, theirs = (scored(each, metrics=ALL, mask="mask") for each in (rows, table()))
    assert ours["background_psnr"] == pytest.approx(theirs["background_psnr"], rel=0.02)
    assert ours["clip_image"] == pytest.approx(theirs["clip_image"], abs=0.01)


def test_a_network_sees_each_picture_once(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Score(metrics=[metric for metric in ALL if metric is not Metric.CLIP_EDITED]).load(batch_rows=5)
    (network,) = {id(each): each for each in operator._networks._vision.values()}.values()
    looks = []
    hook = network._network.register_forward_hook(lambda *seen: looks.append(len(seen[2].pooler_output)))
    operator(table())
    hook.remove()
    assert looks == [5, 5]


@pytest.mark.parametrize(
    ("metrics", "reads", "models"),
    [
        (["sharpness"], {"edited_image"}, ()),
        (["clip_source"], {"image", "caption"}, ("builtin:clip",)),
        (["clip_target"], {"edited_image", "edited_image_prompt"}, ("builtin:clip",)),
        (["background_ssim", "background_mse"], {"image", "edited_image"}, ()),
        (["structure", "background_lpips"], {"image", "edited_image"}, ("a/dino", "b/lpips")),
    ],
)
def test_only_what_is_needed_is_read_and_loaded(metrics: list[str], reads: set[str], models: tuple[str, ...]) -> None:
    spec = Score(metrics=metrics, dino="a/dino", lpips="b/lpips")
    assert set(spec.reads()) == reads
    assert spec.models() == models


def test_options_name_columns_and_texts() -> None:
    spec = Score(
        metrics=["clip_source", "clip_target"],
        source="photo",
        image="by_diffedit",
        source_prompt="a dog",
        target_prompt=Column(column="wanted"),
        prefix="de_",
    )
    assert set(spec.reads()) == {"photo", "by_diffedit", "wanted"}
    assert spec.writes() == {"de_clip_source": pa.float32(), "de_clip_target": pa.float32()}
    assert set(Score(metrics=["clip_target"], image="by_diffedit").reads()) == {"by_diffedit", "by_diffedit_prompt"}


def test_the_preset_names_the_benchmarks_networks() -> None:
    spec = Score(preset="pie_bench")
    assert spec.models() == ("openai/clip-vit-large-patch14", "facebook/dino-vitb8")
    assert spec.networks["lpips"] is Lpips.SQUEEZE
    assert set(spec.reads()) == {"image", "edited_image", "mask", "edited_image_prompt"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "say what to measure"),
        ({"metrics": []}, "say what to measure"),
        ({"metrics": ["sharpness", "sharpness"]}, "named twice"),
        ({"metrics": ["sharpnes"]}, "Input should be"),
        ({"metrics": ["aesthetics"]}, "needs a model"),
        ({"metrics": ["structure"], "dino": "builtin:dino"}, "no built-in model"),
        ({"metrics": ["background_lpips"], "lpips": "resnet"}, "is no model"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Score(**options)


def test_a_network_that_cannot_read_is_refused(vit_folder: Path) -> None:
    with pytest.raises(ModelError, match="is no CLIP"):
        Score(metrics=["clip_target"], clip=str(vit_folder)).load()
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json"):
        Score(metrics=["structure"], dino="builtin:blip").load()


def test_a_column_that_is_there_asks_for_a_prefix() -> None:
    rows = table().append_column("structure", pa.array([0.0] * 5))
    with pytest.raises(Exception, match=r"column 'structure' is there already.*`prefix`"):
        Score(metrics=["structure"]).chain(rows.schema)


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is here")
def test_the_released_lpips_says_what_it_lacks() -> None:
    wanted = "needs the packages lpips and a torchvision that fits this torch .*or name a vision transformer"
    with pytest.raises(ModelError, match=wanted):
        ReleasedLpips(Lpips.SQUEEZE)
    with pytest.raises(ModelError, match=wanted):
        Score(preset="pie_bench", metrics=["background_lpips"]).stage()


def test_a_transformer_is_shared_by_steps_of_a_process(vit_folder: Path) -> None:
    one, other = (Score(metrics=["structure"], dino=str(vit_folder)).load() for _ in range(2))
    assert isinstance(one._networks.dino, VisionTransformer)
    assert one._networks.dino is other._networks.dino
    assert one.digests() == {
        str(vit_folder): Score(metrics=["structure"], dino=str(vit_folder)).digests()[str(vit_folder)]
    }
