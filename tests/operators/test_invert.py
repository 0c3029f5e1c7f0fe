"""Inverted latents: the same as diffusers', the same in any company, and a way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionDiffEditPipeline
from diffusers.pipelines.deprecated.stable_diffusion_variants.pipeline_stable_diffusion_pix2pix_zero import (
    StableDiffusionPix2PixZeroPipeline,
)
from pydantic import ValidationError

from operators import Column, columns
from operators.diffusion.regularisation import Regularisation
from operators.images import decode_all
from operators.invert import Invert, Inverter, Source
from operators.tensors import unpack

METHODS = ["plain", "regularised", "exact"]


class Floats(Inverter):
    """Keeps what rows become before it is packed, by prompt."""

    def floats(self, table: pa.Table) -> dict[str, torch.Tensor]:
        self.made: dict[str, torch.Tensor] = {}
        assert self(table)[columns.ERROR].null_count == table.num_rows
        assert all(weight.grad is None and not weight.requires_grad for weight in self._family.unet.parameters())
        return self.made

    def inverted(self, batch: list[Source]) -> tuple[torch.Tensor, torch.Tensor]:
        clean, made = super().inverted(batch)
        self.made |= {source.prompt: latents for source, latents in zip(batch, made, strict=True)}
        return clean, made


def reference(kind: Any, folder: Path, **parts: Any) -> Any:
    pipeline = kind.from_pretrained(
        folder,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        inverse_scheduler=None,
        **parts,
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.inverse_scheduler = DDIMInverseScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
@pytest.mark.parametrize("lambdas", [(0.0, 0.0), (20.0, 0.0), (0.0, 20.0), (20.0, 20.0)])
def test_inversion_is_that_of_pix2pix_zero(
    diffusion_folder: Path,
    pictures: pa.StructArray,
    guidance_scale: float,
    lambdas: tuple[float, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"prompt": "a red circle", "guidance_scale": guidance_scale}
    pipeline = reference(
        StableDiffusionPix2PixZeroPipeline, diffusion_folder, caption_generator=None, caption_processor=None
    )
    theirs = pipeline.invert(
        image=decode_all(pictures[:1])[0],
        num_inference_steps=6,
        generator=torch.Generator().manual_seed(7),
        lambda_auto_corr=lambdas[0],
        lambda_kl=lambdas[1],
        output_type="np",
        **given,
    ).latents[0]
    # diffusers also rolls by 0, which compares noise with itself; the authors don't.
    monkeypatch.setattr(Regularisation.__init__, "__defaults__", (*Regularisation.__init__.__defaults__[:-1], 0))
    options: Any = {"lambda_auto_correlation": lambdas[0], "lambda_kl": lambdas[1]}
    spec = Invert(model=str(diffusion_folder), steps=6, seed=7, method="regularised", **options, **given)
    [ours] = Floats(spec).floats(pa.table({"image": pictures[:1]})).values()
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_the_trajectory_is_that_of_diffedit(
    diffusion_folder: Path, pictures: pa.StructArray, guidance_scale: float
) -> None:
    given = {"prompt": "a red circle", "negative_prompt": "blue", "guidance_scale": guidance_scale}
    pipeline = reference(StableDiffusionDiffEditPipeline, diffusion_folder)
    theirs = pipeline.invert(
        image=decode_all(pictures[:1])[0],
        num_inference_steps=6,
        inpaint_strength=1.0,
        generator=torch.Generator().manual_seed(7),
        **given,
    ).latents[0]
    spec = Invert(model=str(diffusion_folder), steps=6, seed=7, trajectory=True, **given)
    [ours] = Floats(spec).floats(pa.table({"image": pictures[:1]})).values()
    assert ours.shape == (7, 4, 16, 16)
    assert (ours[1:].flip(0) - theirs).abs().max() < 1e-4


@pytest.fixture(scope="module")
def seven(pictures: pa.StructArray) -> pa.Table:
    return pa.table(
        {
            "caption": ["a red circle", "a star", "", "a very long text about a cross", "a ring", "two", "three"],
            "negative_prompt": ["", "blue", "a circle", "", "red", "", "four"],
            "guidance_scale": [1.0, 3.0, 0.5, 2.0, 1.0, 4.0, 3.0],
            "steps": [6, 6, 6, 6, 5, 6, 6],
            "width": [64, 64, 64, 64, 64, 48, 64],
            "height": [64, 64, 64, 64, 68, 64, 64],
            "seed": [1, 2, 3, 4, 5, 6, 7],
            "image": pa.concat_arrays([pictures, pictures[:1]]),
        }
    )


@pytest.mark.parametrize("trajectory", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_row_is_the_same_alone(sd2: Path, seven: pa.Table, method: str, trajectory: bool) -> None:
    names = ["negative_prompt", "guidance_scale", "steps", "width", "height", "seed"]
    options: Any = {name: Column(column=name) for name in names}
    spec = Invert(model=str(sd2), method=method, trajectory=trajectory, reconstruction=False, **options)
    operator = Floats(spec)
    together = operator.floats(seven)
    for row in range(7):
        [(prompt, alone)] = operator.floats(seven.slice(row, 1)).items()
        size = (4, seven["height"][row].as_py() // 4, seven["width"][row].as_py() // 4)
        assert alone.shape == ((seven["steps"][row].as_py() + 1, *size) if trajectory else size)
        assert (alone - together[prompt]).abs().max() < 1e-4
    assert len({float(latents.mean()) for latents in together.values()}) == 7


def test_methods_differ(diffusion_folder: Path, seven: pa.Table) -> None:
    table = seven.slice(0, 1)
    ends = [
        Floats(Invert(model=str(diffusion_folder), steps=6, method=method)).floats(table)["a red circle"]
        for method in METHODS
    ]
    assert (ends[0] - ends[1]).abs().max() > 1e-2
    assert (ends[0] - ends[2]).abs().max() > 1e-4


def scenes(rows: int) -> pa.Table:
    from operators.images import encode_all
    from operators.models.builtin.scenes import HELD_OUT_SERIES, draw, scene

    shown = [scene(index, HELD_OUT_SERIES) for index in range(20_000, 20_000 + rows)]
    return pa.table({"image": encode_all(draw(shown)), "caption": [item.caption for item in shown]})


@pytest.mark.parametrize(("guidance_scale", "least"), [(1.0, 60), (3.0, 55)])
def test_exact_latents_lead_back(guidance_scale: float, least: float) -> None:
    table = scenes(2)
    psnr = {}
    for method in ("plain", "exact"):
        operator = Invert(method=method, guidance_scale=guidance_scale).load()
        calls: list[int] = []
        hook = operator._family.unet.register_forward_hook(lambda *_, calls=calls: calls.append(1))  # type: ignore[attr-defined]
        psnr[method] = operator(table)["inverted_latents_psnr"].to_pylist()
        hook.remove()
        assert len(calls) <= {"plain": 100, "exact": 200}[method]
    assert min(psnr["exact"]) >= least
    assert np.mean(psnr["exact"]) > np.mean(psnr["plain"]) + 10


def test_a_table_of_pictures_becomes_latents(tiny_vae_folder: Path, seven: pa.Table) -> None:
    spec = Invert(model=str(tiny_vae_folder), steps=3, trajectory=True, output="noise")
    long = "a red circle " * 20
    given = seven.slice(0, 2).select(["image"]).append_column("caption", pa.array(["a star", long]))
    made = spec.load()(given)
    added = ["noise", "noise_truncated", "noise_psnr"]
    assert list(spec.writes()) == added
    assert [made.schema.field(name).type for name in added] == [columns.TENSOR, pa.string(), pa.float32()]
    latents = unpack(made["noise"])
    assert [found.shape for found in latents if found is not None] == [(4, 4, 16, 16)] * 2
    assert made["noise_truncated"].is_null().to_pylist() == [True, False]
    assert all(0 < found <= 120 for found in made["noise_psnr"].to_pylist())
    last = Invert(model=str(tiny_vae_folder), steps=3, output="noise", reconstruction=False).load()(given)
    assert "noise_psnr" not in last.schema.names
    for levels, noise in zip(latents, unpack(last["noise"]), strict=True):
        assert levels is not None
        np.testing.assert_array_equal(levels[-1], noise)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_comes_near(tiny_vae_folder: Path, seven: pa.Table, precision: str) -> None:
    table = seven.slice(0, 2)
    ends = [
        Floats(Invert(model=str(tiny_vae_folder), steps=4, precision=given)).floats(table)["a star"]
        for given in ("float32", precision)
    ]
    assert 0 < (ends[0] - ends[1]).abs().max() < 0.1


@pytest.mark.parametrize(
    ("column", "value", "code", "message"),
    [
        ("caption", None, "value_missing", "prompt is null"),
        ("width", 66, "value_invalid", "width is 66, but must be a multiple of 4 in 32..8192"),
        ("height", 28, "value_invalid", "height is 28, but must be a multiple of 4 in 32..8192"),
        ("steps", 0, "value_invalid", "steps is 0, but must be in 1..1000"),
        ("guidance_scale", float("nan"), "value_invalid", "guidance_scale is nan"),
        ("guidance_scale", 1e38, "not_finite", "the latents became NaN or infinite"),
        ("seed", None, "value_missing", "seed is null"),
        ("image", None, "image_missing", "the picture is null"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_bad_value_costs_its_row_alone(
    tiny_vae_folder: Path, pictures: pa.StructArray, column: str, value: Any, code: str, message: str, method: str
) -> None:
    good = {"caption": "a", "width": 64, "height": 64, "steps": 2, "guidance_scale": 3.0, "seed": 1}
    rows = [good | {"image": picture} for picture in pictures[:3].to_pylist()]
    rows[1] |= {column: value}
    options: Any = {name: Column(column=name) for name in good if name != "caption"}
    table = pa.Table.from_pylist(rows).cast(pa.Table.from_pylist(rows[:1]).schema)
    result = Invert(model=str(tiny_vae_folder), method=method, **options).load()(table)
    errors = result[columns.ERROR].to_pylist()
    assert errors[0] is errors[2] is None
    assert errors[1]["code"] == code
    assert errors[1]["message"].startswith(message)
    assert result["inverted_latents"].is_null().to_pylist() == [False, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheduler": "euler"}, "inversion is right with DDIM alone, not with scheduler 'euler'"),
        ({"method": "edict"}, "'plain', 'regularised' or 'exact'"),
        ({"lambda_kl": 3.0}, "lambda_kl is an option of method regularised, not of plain"),
        ({"method": "regularised", "tolerance": 0.1}, "tolerance is an option of method exact, not of regularised"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"guidance_scale": float("nan")}, "finite"),
        ({"promt": "a"}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Invert(**options)


def test_later_steps_are_told_how_the_latents_were_made() -> None:
    schema = pa.schema([("image", columns.IMAGE), ("caption", pa.string()), ("n", pa.int64())])
    for scheduler in (None, "ddim", "DDIMScheduler"):
        about = Invert(method="exact", trajectory=True, scheduler=scheduler).chain(schema).field("inverted_latents")
        assert about.metadata == {
            b"model": b"builtin:stable-diffusion",
            b"method": b"exact",
            b"trajectory": b"true",
            b"steps": b"50",
            b"guidance_scale": b"1.0",
        }
    varied = Invert(steps=Column(column="n"), guidance_scale=Column(column="n")).describes()["inverted_latents"]
    assert set(varied) == {"model", "method", "trajectory"}
    again = Invert.model_validate(Invert(method="exact", tolerance=0.1).model_dump())
    assert again.tolerance == 0.1
