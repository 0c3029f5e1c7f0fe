"""Custom Diffusion: as diffusers' attention processor computes, whatever reads attention, and nothing left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from diffusers.models.attention_processor import CustomDiffusionAttnProcessor
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from operators import Column, columns
from operators.controls.custom_diffusion import CustomDiffusion
from operators.controls.prompt_weighting import PromptWeighting
from operators.diffusion.attention import readable
from operators.errors import ModelError
from tests.operators.controls.adapted import (
    FAR,
    GIVEN,
    NEAR,
    ROW,
    apart,
    controlled,
    made,
    one,
    pipeline,
    plain,
    state,
)
from tests.operators.floats import Floats, apart_in_company
from tests.operators.tiny import WIDTH

PROMPT = "a <new1> on red"


def customised(pipe: Any, target: Path, seed: int, everything: bool, pickled: bool = False) -> Path:
    """Give a pipeline processors with random weights, and save these as diffusers' trainer does."""
    torch.manual_seed(seed)
    processors, held = {}, {}
    for name, own in pipe.unet.attn_processors.items():
        layer = pipe.unet.get_submodule(name.removesuffix(".processor"))
        if "attn1" in name:
            processors[name] = own
            held |= {name: {}} if pickled else {}
            continue
        processors[name] = CustomDiffusionAttnProcessor(
            train_kv=True,
            train_q_out=everything,
            hidden_size=layer.to_q.out_features,
            cross_attention_dim=layer.to_k.in_features,
        )
        held |= {f"{name}.{key}": value for key, value in processors[name].state_dict().items()}
    pipe.unet.set_attn_processor(processors)
    words = {"<new1>": 0.5 * torch.randn(WIDTH)}
    target.mkdir()
    if pickled:
        torch.save(held, target / "pytorch_custom_diffusion_weights.bin")
        torch.save(words, target / "<new1>.bin")
    else:
        save_file(held, target / "pytorch_custom_diffusion_weights.safetensors")
        save_file(words, target / "<new1>.safetensors")
    pipe.load_textual_inversion(dict(words))
    return target


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("pickled", [False, True])
def test_it_is_the_processor_of_diffusers(
    diffusion_folder: Path, tmp_path: Path, everything: bool, pickled: bool
) -> None:
    pipe = pipeline(diffusion_folder)
    weights = customised(pipe, tmp_path / "weights", 1, everything, pickled)
    theirs = made(pipe, prompt=PROMPT, **GIVEN)
    ours = one(controlled(diffusion_folder, CustomDiffusion(weights=str(weights)), prompt=PROMPT, allow_pickle=pickled))
    assert apart(ours, theirs) < NEAR
    assert apart(ours, one(plain(diffusion_folder, prompt=PROMPT))) > FAR


def test_whatever_reads_attention_sees_the_weights(diffusion_folder: Path, tmp_path: Path) -> None:
    weights = customised(pipeline(diffusion_folder), tmp_path / "weights", 2, everything=True)
    family = plain(diffusion_folder).load()._family  # type: ignore[attr-defined]
    control = CustomDiffusion(weights=str(weights)).load(family, False)
    [asked] = control.prepare(ROW, [None])
    latents, maps = torch.randn(1, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), []
    with torch.no_grad(), readable(family.unet) as layers:
        predict = family.predictor(family.encode_prompts(["a star"]))
        plainly = predict(latents, torch.tensor(500))
        with control.installed(asked):
            without_reading = predict(latents, torch.tensor(500))
            with layers.maps() as maps:
                read = predict(latents, torch.tensor(500))
    assert maps
    assert apart(read, without_reading) < NEAR
    assert apart(read, plainly) > FAR


def test_rows_with_their_own_are_the_same_alone(diffusion_folder: Path, tmp_path: Path) -> None:
    paths = [customised(pipeline(diffusion_folder), tmp_path / str(seed), seed, everything=False) for seed in (1, 2)]
    table = pa.table(
        {
            "prompt": [f"a <new1> on {colour}" for colour in ("red", "blue", "green", "white")],
            "weights": [str(paths[0]), str(paths[1]), str(paths[0]), ""],
            columns.ROW_ID: list("abcd"),
        }
    )
    control = CustomDiffusion(weights=Column(column="weights"), kept=1)
    spec = controlled(diffusion_folder, control, PromptWeighting())
    assert apart_in_company(spec, table) < NEAR
    operator = Floats(spec)
    assert len({operator.group(row) for row in operator.prepare(table, [0] * 4)}) == 3


def test_nothing_is_left_of_it(diffusion_folder: Path, tmp_path: Path) -> None:
    weights = customised(pipeline(diffusion_folder), tmp_path / "weights", 3, everything=True)
    other = plain(diffusion_folder, prompt=PROMPT)
    before = one(other)
    operator = controlled(diffusion_folder, CustomDiffusion(weights=str(weights))).load()
    family = operator._family  # type: ignore[attr-defined]
    whole = state(family)
    assert operator(pa.table({"prompt": [PROMPT]}))[columns.ERROR].null_count == 1
    assert state(family) == whole
    assert apart(one(other), before) == 0


def test_what_does_not_fit_costs_its_row_alone(diffusion_folder: Path, tmp_path: Path) -> None:
    good = customised(pipeline(diffusion_folder), tmp_path / "good", 1, everything=False)
    held = load_file(good / "pytorch_custom_diffusion_weights.safetensors")
    key = next(iter(held))
    files = {
        "narrow": {key: held[key][:, :4].contiguous()},
        "elsewhere": {key.replace("blocks.0", "blocks.9").replace("blocks.1", "blocks.9"): held[key]},
        "other": {"conv_in.weight": torch.ones(1)},
    }
    for name, tensors in files.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    names = [good, *(tmp_path / f"{name}.safetensors" for name in files)]
    table = pa.table({"prompt": ["a"] * 4, "weights": [str(name) for name in names]})
    result = controlled(diffusion_folder, CustomDiffusion(weights=Column(column="weights"))).load()(table)
    errors = result[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == [None, *["weights_invalid"] * 3]
    told = ["and not", "which has no", "no weights of Custom Diffusion"]
    assert [word in error["message"] for word, error in zip(told, errors[1:], strict=True)] == [True] * 3


def test_words_that_are_a_pickle_need_an_opt_in(diffusion_folder: Path, tmp_path: Path) -> None:
    weights = customised(pipeline(diffusion_folder), tmp_path / "weights", 1, everything=False)
    (weights / "<new1>.safetensors").unlink()
    torch.save({"<new1>": torch.randn(WIDTH)}, weights / "<new1>.bin")
    with pytest.raises(ModelError, match=r"has only <new1>\.bin, a pickle"):
        controlled(diffusion_folder, CustomDiffusion(weights=str(weights))).load()


def test_one_alone_has_its_weights_in_the_place_of_the_networks() -> None:
    editing = {"model_editing": {"edits": [{"source": "a", "destination": "a b"}]}}
    with pytest.raises(ValidationError, match="don't go together: only one of them"):
        controlled(Path("a/b"), {"custom_diffusion": {"weights": "a/b"}}, editing)


@pytest.mark.parametrize("options", [{}, {"weights": "a/b", "kept": 0}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        controlled(Path("a/b"), {"custom_diffusion": options})
