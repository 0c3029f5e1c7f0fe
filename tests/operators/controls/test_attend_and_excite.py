"""Attend-and-Excite: the same as diffusers' at batch 1, and the same in any company."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from diffusers import StableDiffusionAttendAndExcitePipeline
from pydantic import ValidationError
from safetensors.torch import save_file

from operators import Column, Generate, columns
from operators.controls.attend_and_excite import AttendAndExcite, SubjectAttention
from operators.controls.sag import Sag
from operators.controls.sega import Concept, Sega
from operators.controls.textual_inversion import TextualInversion
from operators.diffusion.attention import latents_per_position, map_size
from operators.diffusion.family import load_family
from operators.diffusion.subject_attention import Excite
from operators.errors import ModelError
from operators.models.loading import diffusion_files
from operators.models.ref import ModelRef
from tests.operators import tiny
from tests.operators.floats import Floats, apart_in_company, floats, reference

ONE_ROW = pa.table({"x": [0]})
REFINED = {0: 0.043, 2: 0.9}
STRONG: dict[str, Any] = {"max_iter_to_alter": 3, "thresholds": REFINED, "scale_factor": 1000.0}


@pytest.mark.parametrize("guidance_scale", [1.0, 6.0])
def test_it_is_diffusers(diffusion_folder: Path, guidance_scale: float) -> None:
    given: dict[str, Any] = {"prompt": "a red circle and a star", "guidance_scale": guidance_scale}
    plain = Generate(model=str(diffusion_folder), steps=4, seed=7, **given)
    theirs = reference(
        StableDiffusionAttendAndExcitePipeline,
        diffusion_folder,
        None,
        7,
        num_inference_steps=4,
        token_indices=[3, 6],
        max_iter_to_alter=3,
        thresholds=REFINED,
        scale_factor=1000,
        attn_res=(8, 8),
        **given,
    )
    by_words = AttendAndExcite(words=("circle", "STAR"), smoothing_sigma=0.5**0.5, **STRONG)
    made = floats(plain.model_copy(update={"controls": (by_words,)}), ONE_ROW)
    assert (made - theirs).abs().max() < 1e-4
    assert (made - floats(plain, ONE_ROW)).abs().max() > 5e-3
    by_indices = AttendAndExcite(indices=(3, 6), smoothing_sigma=0.5**0.5, **STRONG)
    assert floats(plain.model_copy(update={"controls": (by_indices,)}), ONE_ROW).equal(made)


@pytest.mark.parametrize("folder", ["diffusion_folder", "sd2", "sdxl"])
def test_a_row_with_its_own_words_is_the_same_alone(folder: str, request: pytest.FixtureRequest) -> None:
    table = pa.table(
        {
            "prompt": ["a red circle and a star", "a big owl", "a ring", "a blue square"],
            "words": ["circle, star", "owl", "", "blue"],
            "factor": [500.0, 3000.0, 1000.0, 10.0],
            "last": [2, 0, 1, 5],
            columns.ROW_ID: list("abcd"),
        }
    )
    control = AttendAndExcite(
        words=Column(column="words"),
        scale_factor=Column(column="factor"),
        max_iter_to_alter=Column(column="last"),
        thresholds={0: 0.043},
        max_refinement_steps=4,
    )
    sega = Sega(concepts=(Concept(prompt="blue", warmup=0),))
    model = str(request.getfixturevalue(folder))
    spec = Generate(model=model, steps=3, width=48, height=72, controls=(sega, control, Sag()))
    assert apart_in_company(spec, table) < 1e-4


def test_rows_rest_once_their_subjects_have_enough(diffusion_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.Tensor] = []
    lacking: list[torch.Tensor] = []
    lack = Excite._lack

    def recorded(method: Excite, latents: torch.Tensor, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = lack(method, latents, timestep)
        asked.append(latents)
        lacking.append(found[0])
        return found

    monkeypatch.setattr(Excite, "_lack", recorded)
    control = AttendAndExcite(
        words=("circle",), scale_factor=Column(column="factor"), thresholds={0: 0.06}, max_iter_to_alter=0
    )
    spec = Generate(model=str(diffusion_folder), steps=2, seed=7, prompt=Column(column="prompt"), controls=(control,))
    floats(spec, pa.table({"prompt": ["a circle", "a red circle"], "factor": [1000.0, 500.0]}))
    first = len(asked) // 2
    moves = [(after - before).flatten(1).abs().amax(1) > 0 for before, after in pairwise(asked[:first])]
    counts = torch.stack(moves).sum(0).tolist()
    assert 1 < counts[0] < counts[1] < 20
    for row, count in enumerate(counts):
        enough = [float(at[row]) <= 1 - 0.06 for at in lacking[:count]]
        assert enough == [False] * (count - 1) + [True]


def test_the_network_is_as_it_was(diffusion_folder: Path) -> None:
    operator = Floats(
        Generate(model=str(diffusion_folder), steps=1, prompt="a star", controls=(AttendAndExcite(words=("star",)),))
    )
    unet = operator._family.unet
    before = dict(unet.attn_processors)
    operator.floats(ONE_ROW)
    assert dict(unet.attn_processors) == before
    assert all(weight.grad is None and not weight.requires_grad for weight in unet.parameters())


def test_words_are_found_whole_with_all_their_tokens(diffusion_folder: Path) -> None:
    operator = Generate(
        model=str(diffusion_folder),
        steps=1,
        prompt=Column(column="prompt"),
        controls=(AttendAndExcite(words=Column(column="words")),),
    ).load()
    rows = [
        ("a Red circle, and a circle", "red, circle", [2, 3, 7]),
        ("an owl", "owl", [2, 3, 4]),
        ("a red circle", "red circle", [2, 3]),
        ("a red circle", " ,", []),
        ("a circles", "circle", "mentions 'circle' nowhere"),
        ("a red " * 20 + "star", "star", "mentions 'star' only where it is cut off"),
    ]
    table = pa.table({"prompt": [row[0] for row in rows], "words": [row[1] for row in rows]})
    for prepared, (_, _, expected) in zip(operator.prepare(table, [0] * len(rows)), rows, strict=True):
        found = prepared.controls[0]["tokens"] if hasattr(prepared, "controls") else str(prepared)
        assert found == expected or str(expected) in found


def test_a_learnt_word_is_found_with_all_its_vectors(diffusion_folder: Path, tmp_path: Path) -> None:
    vectors = torch.randn(3, tiny.WIDTH, generator=torch.Generator().manual_seed(0))
    save_file({"<cat>": vectors}, tmp_path / "learned_embeds.safetensors")
    controls = (
        AttendAndExcite(words=("<cat>", "ring"), thresholds={}),
        TextualInversion(embedding=str(tmp_path / "learned_embeds.safetensors")),
    )
    operator = Floats(Generate(model=str(diffusion_folder), steps=1, prompt="a <cat> in a ring", controls=controls))
    [row] = operator.prepare(ONE_ROW, [0])
    assert row.controls[0]["tokens"] == [2, 3, 4, 7]
    assert len(operator.floats(ONE_ROW)) == 1


def test_layers_of_a_scale_are_found_as_the_network_has_them(diffusion_folder: Path) -> None:
    family = load_family(diffusion_files(ModelRef("builtin:stable-diffusion")), torch.device("cpu"))
    levels = len(family.unet.config.down_block_types)
    sizes: dict[str, int] = {}
    for name, layer in family.unet.named_modules():
        if name.endswith(".attn2"):
            layer.register_forward_pre_hook(
                lambda _, inputs, name=name: sizes.update({f"{name}.processor": inputs[0].shape[1]})
            )
    with torch.no_grad():
        family.predictor(family.encode_prompts(["a"]))(torch.randn(1, 1, 4, 18, 14), torch.tensor(5))
    for name, positions in sizes.items():
        height, width = map_size(18, 14, latents_per_position(name, levels))
        assert height * width == positions
    assert SubjectAttention(AttendAndExcite(words=("a",)), family)._downscaling == 2
    with pytest.raises(ModelError, match="attention_downscaling is 8, but this model attends to text at 2 or 4"):
        SubjectAttention(AttendAndExcite(words=("a",), attention_downscaling=8), family)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "by `words` or by `indices`"),
        ({"words": ["a"], "indices": [1]}, "by `words` or by `indices`"),
        ({"indices": [0]}, "greater than or equal to 1"),
        ({"words": ["a"], "thresholds": {0: 1.5}}, "less than or equal to 1"),
        ({"words": ["a"], "smoothing_kernel": 2}, "must be odd"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Generate(controls=[{"attend_and_excite": options}])


def test_a_bad_value_costs_its_row_alone(tiny_vae_folder: Path) -> None:
    control = AttendAndExcite(indices=Column(column="indices"), thresholds={})
    spec = Generate(model=str(tiny_vae_folder), steps=1, controls=(control,))
    result = spec.load()(pa.table({"prompt": ["a red star"] * 4, "indices": ["2, 3", "3, 31", "two", None]}))
    errors = result[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == [None, "value_invalid", "value_invalid", "value_missing"]
    assert errors[1]["message"] == "indices is 3, 31, but must be in 1..30"
