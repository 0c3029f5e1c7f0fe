"""DiffEdit: as diffusers has it at batch 1, and the same in any company."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from diffusers import StableDiffusionDiffEditPipeline
from PIL import Image
from pydantic import ValidationError

from operators import Column, DiffEdit, Invert, columns
from operators.diffusion import masks as diffusion_masks
from operators.diffusion.family import StableDiffusion, load_family
from operators.errors import ColumnError
from operators.images import decode_all, encode_all
from operators.models.loading import diffusion_files
from operators.models.ref import ModelRef
from operators.tensors import pack, unpack
from tests.operators import tiny
from tests.operators.edits import floats, floats_of, mask
from tests.operators.test_invert import reference

NEAR = 1e-4


def loaded(folder: Path) -> StableDiffusion:
    return load_family(diffusion_files(ModelRef(str(folder))), torch.device("cpu"))


def seen(picture: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(picture["bytes"])))


@pytest.fixture(scope="module")
def sure_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose autoencoder is sure of its latents; diffusers takes none that says nothing of its doubts."""
    vae = tiny.autoencoder_kl()
    with torch.no_grad():
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -30
    return tiny.stable_diffusion(tmp_path_factory.mktemp("models") / "sure", vae)


@pytest.mark.parametrize("threshold", [1.0, 1.5])
def test_mask_and_edit_are_those_of_diffusers(
    sure_folder: Path, pictures: pa.StructArray, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their blend's level, and with their noise, which comes after what their autoencoder draws."""
    monkeypatch.setattr(diffusion_masks, "Blend", functools.partial(diffusion_masks.Blend, lag=1))
    generator = torch.Generator().manual_seed(7)
    _, drawn = (torch.randn((4, 4, 16, 16), generator=generator) for _ in range(2))
    monkeypatch.setattr("operators.diffusion.noise.row_noise", lambda *_: drawn[None])
    pipeline = reference(StableDiffusionDiffEditPipeline, sure_folder)
    picture: Any = decode_all(pictures[:1])[0]
    steps = {"num_inference_steps": 10}
    found = pipeline.generate_mask(
        image=picture,
        source_prompt="a red circle",
        target_prompt="a blue square on a green background",
        num_maps_per_mask=4,
        mask_encode_strength=0.6,
        mask_thresholding_ratio=2 * threshold,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
        **steps,
    )
    inverted = pipeline.invert(prompt="", image=picture, inpaint_strength=0.8, guidance_scale=1.0, **steps).latents
    theirs = pipeline(
        "a blue square on a green background",
        mask_image=found,
        image_latents=inverted,
        negative_prompt="green",
        guidance_scale=5.0,
        output_type="np",
        **steps,
    ).images[0]
    spec = DiffEdit(
        model=str(sure_folder),
        target_prompt="a blue square on a green background",
        negative_prompt="green",
        steps=10,
        guidance_scale=5.0,
        mask_maps=4,
        mask_strength=0.6,
        mask_yardstick="mean",
        mask_threshold=threshold,
        seed=7,
    )
    operator = spec.load()
    [ours] = floats_of(operator, pa.table({"caption": ["a red circle"], "image": pictures[:1]})).values()
    assert (ours - torch.from_numpy(theirs).permute(2, 0, 1)).abs().max() < NEAR
    made = operator(pa.table({"caption": ["a red circle"], "image": pictures[:1]}))
    ours_mask = seen(made["edited_image_mask"][0].as_py())[::4, ::4] > 0
    assert 0 < ours_mask.mean() < 1
    assert np.array_equal(ours_mask, found[0].astype(bool))


MIXED = pa.table(
    {
        "caption": [f"a {colour} circle" for colour in ("red", "green", "blue", "yellow", "purple", "cyan", "black")],
        "becomes": ["square", "star", "ring", "cross", "triangle", "square", "star"],
        "guidance": [5.0, 1.0, 2.0, 5.0, 7.5, 0.5, 3.0],
        "threshold": [0.5, 0.8, 0.3, 0.6, 0.5, 0.4, 0.7],
        "strength": [0.8, 0.8, 1.0, 0.8, 0.5, 0.8, 0.8],
        "steps": [5, 5, 5, 4, 5, 5, 4],
        "seed": [3, 1, 4, 1, 5, 9, 2],
        "width": [64, 64, 64, 64, 48, 64, 64],
    }
)


@pytest.mark.parametrize("mask_given", [False, True])
def test_a_row_is_the_same_in_any_company(diffusion_folder: Path, pictures: pa.StructArray, mask_given: bool) -> None:
    table = MIXED.append_column("image", pa.concat_arrays([pictures, pictures[:1]]))
    table = table.append_column("area", encode_all([mask(4 * k, 8, 40, 32 + 4 * k) for k in range(7)]))
    spec = DiffEdit(
        model=str(diffusion_folder),
        from_="circle",
        to=Column(column="becomes"),
        mask="area" if mask_given else None,
        guidance_scale=Column(column="guidance"),
        mask_threshold=Column(column="threshold"),
        strength=Column(column="strength"),
        steps=Column(column="steps"),
        seed=Column(column="seed"),
        width=Column(column="width"),
        mask_maps=3,
    )
    operator = spec.load()
    together = floats_of(operator, table)
    assert len(together) == 7
    for row in range(7):
        [(target, alone)] = floats_of(operator, table.slice(row, 1)).items()
        assert (alone - together[target]).abs().max() < NEAR, row


@pytest.mark.parametrize("empty", ["reject", "copy"])
def test_equal_prompts_change_nothing(tiny_vae_folder: Path, pictures: pa.StructArray, empty: str) -> None:
    """Beside a row that does change, whose statistics must not leak."""
    spec = DiffEdit(model=str(tiny_vae_folder), target_prompt="a red circle", steps=4, mask_maps=2, empty=empty)
    table = pa.table({"caption": ["a red circle", "a blue square"], "image": pictures[:2]})
    made = spec.load()(table)
    codes = [error and error["code"] for error in made[columns.ERROR].to_pylist()]
    assert codes == (["mask_invalid", None] if empty == "reject" else [None, None])
    if empty == "copy":
        found = [seen(picture).any() for picture in made["edited_image_mask"].to_pylist()]
        assert found == [False, True]
        family = loaded(tiny_vae_folder)
        pixels = torch.from_numpy(np.asarray(decode_all(pictures[:1])[0]).copy()).permute(2, 0, 1)[None] / 127.5 - 1
        copied = torch.from_numpy(seen(made["edited_image"][0].as_py()).copy()).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            through = family.decode(family.encode_images(pixels, None))
        assert (copied - through).abs().max() < 0.003


def test_nothing_outside_of_a_given_mask_leaves_the_source(tiny_vae_folder: Path, pictures: pa.StructArray) -> None:
    area = encode_all([mask(0, 0, 32, 64)])
    table = pa.table({"caption": ["a red circle"], "image": pictures[:1], "area": area})
    spec = DiffEdit(model=str(tiny_vae_folder), target_prompt="a blue star", steps=5, mask="area", guidance_scale=6.0)
    operator = spec.load()
    [edited] = floats_of(operator, table).values()
    family = loaded(tiny_vae_folder)
    pixels = torch.from_numpy(np.asarray(decode_all(pictures[:1])[0]).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        source = family.decode(family.encode_images(pixels, None))[0]
    assert (edited - source)[:, :, 56:].abs().max() < 1e-4
    assert (edited - source)[:, :, :24].abs().max() > 10 * NEAR


def test_a_trajectory_of_invert_serves_as_well(tiny_vae_folder: Path, pictures: pa.StructArray) -> None:
    table = pa.table({"caption": ["a red circle", "a blue square"], "image": pictures[:2]})
    options: dict[str, Any] = {"model": str(tiny_vae_folder), "steps": 5}
    inverted = Invert(prompt="", trajectory=True, reconstruction=False, **options).load()(table)
    assert [array.shape for array in unpack(inverted["inverted_latents"])] == [(6, 4, 16, 16)] * 2  # type: ignore[union-attr]
    edit: dict[str, Any] = {"target_prompt": "a green star", "seed": 3, "mask_maps": 2, **options}
    here = floats(DiffEdit(start="inverted", **edit), inverted.drop_columns("image"))
    own = floats(DiffEdit(**edit), table)
    for target, made in own.items():
        assert (made - here[target]).abs().max() < 5e-3


def test_wrong_use_is_told_before_or_costs_the_row_alone(tiny_vae_folder: Path, pictures: pa.StructArray) -> None:
    with pytest.raises(ValidationError, match="diffedit is wrong with scheduler 'lms'; it takes ddim"):
        DiffEdit(target_prompt="x", scheduler="lms")
    known = {"model": "builtin:stable-diffusion", "trajectory": "false", "steps": "50"}
    schema = pa.schema([("image", columns.IMAGE), ("caption", pa.string())])
    for metadata, told in (
        (known, "`trajectory: false`; this step needs `trajectory: true`"),
        (known | {"trajectory": "true", "steps": "30"}, "`steps: 30`; this step needs `steps: 50`"),
    ):
        with pytest.raises(ColumnError, match=told):
            DiffEdit(target_prompt="x", start="inverted").chain(
                schema.append(pa.field("inverted_latents", columns.TENSOR, metadata=metadata))
            )
    spec = DiffEdit(model=str(tiny_vae_folder), target_prompt="a star", mask="area", steps=2)
    areas = encode_all([mask(8, 8, 40, 40), mask(0, 0, 0, 0), mask(8, 8, 40, 40).resize((32, 32))])
    table = pa.table(
        {
            "caption": ["a circle"] * 4,
            "image": pa.concat_arrays([pictures[:3], encode_all([Image.new("RGB", (31, 40))])]),
            "area": pa.concat_arrays([areas, areas[:1]]),
        }
    )
    codes = [error and error["code"] for error in spec.load()(table)[columns.ERROR].to_pylist()]
    assert codes == [None, "mask_invalid", "mask_invalid", "image_too_small"]
    final = pack([np.zeros((4, 16, 16), np.float16)])
    given = pa.table({"caption": ["a circle"], "image": pictures[:1], "inverted_latents": final})
    spec = DiffEdit(model=str(tiny_vae_folder), target_prompt="a star", start="inverted", steps=2)
    [error] = spec.load()(given)[columns.ERROR].to_pylist()
    assert error["code"] == "value_invalid"
    assert "trajectory: true" in error["message"]
