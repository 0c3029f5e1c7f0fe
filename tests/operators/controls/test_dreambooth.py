"""DreamBooth: the pictures of the tuned model itself, another one for other rows, and nothing left of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from operators import Column, columns
from operators.controls.dreambooth import Dreambooth
from operators.controls.lora import Lora
from operators.controls.textual_inversion import TextualInversion
from operators.errors import ModelError
from tests.operators.controls.adapted import FAR, GIVEN, NEAR, apart, controlled, made, one, pipeline, plain, state
from tests.operators.controls.test_lora import trained
from tests.operators.floats import Floats, apart_in_company
from tests.operators.tiny import WIDTH

PROMPT = "a red circle"


def tuned(folder: Path, target: Path, seed: int, xl: bool = False, text: bool = True) -> Path:
    """A model with weights that are a little others, saved as a pipeline."""
    pipe = pipeline(folder, xl)
    generator = torch.Generator().manual_seed(seed)
    for network in (pipe.unet, *((pipe.text_encoder,) if text else ())):
        for parameter in network.parameters():
            parameter.data += 0.1 * parameter.data.std(correction=0) * torch.randn(parameter.shape, generator=generator)
    pipe.save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def checkpoints(diffusion_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    saved = [tuned(diffusion_folder, folder / str(seed), seed) for seed in range(3)]
    shutil.rmtree(saved[2] / "text_encoder")
    return saved


def test_it_is_the_tuned_model(diffusion_folder: Path, checkpoints: list[Path]) -> None:
    theirs = made(pipeline(checkpoints[0]), prompt=PROMPT, **GIVEN)
    ours = one(controlled(diffusion_folder, Dreambooth(checkpoint=str(checkpoints[0])), prompt=PROMPT))
    assert apart(ours, theirs) < NEAR
    assert apart(ours, one(plain(diffusion_folder, prompt=PROMPT))) > FAR


def test_a_checkpoint_of_the_denoiser_alone_leaves_the_text_encoder(
    diffusion_folder: Path, checkpoints: list[Path]
) -> None:
    pipe, other = pipeline(diffusion_folder), checkpoints[2]
    pipe.unet = type(pipe.unet).from_pretrained(other / "unet")
    ours = one(controlled(diffusion_folder, Dreambooth(checkpoint=str(other)), prompt=PROMPT))
    assert apart(ours, made(pipe, prompt=PROMPT, **GIVEN)) < NEAR


def test_it_is_the_tuned_model_with_two_text_encoders(sdxl: Path, tmp_path: Path) -> None:
    other = tuned(sdxl, tmp_path / "xl", 4, xl=True)
    ours = one(controlled(sdxl, Dreambooth(checkpoint=str(other)), prompt=PROMPT))
    assert apart(ours, made(pipeline(other, xl=True), prompt=PROMPT, **GIVEN)) < NEAR
    assert apart(ours, one(plain(sdxl, prompt=PROMPT))) > FAR


def test_a_lora_and_learnt_words_go_on_top_of_it(
    diffusion_folder: Path, checkpoints: list[Path], tmp_path: Path
) -> None:
    lora = trained(diffusion_folder, tmp_path / "lora", 1)
    words = {"<cat>": 0.5 * torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(1))}
    save_file(words, tmp_path / "learned_embeds.safetensors")
    pipe = pipeline(checkpoints[0])
    pipe.load_lora_weights(str(lora.parent))
    pipe.load_textual_inversion(dict(words))
    theirs = made(pipe, prompt="a red <cat>", **GIVEN)
    controls = (
        Lora(weights=str(lora)),
        TextualInversion(embedding=str(tmp_path)),
        Dreambooth(checkpoint=str(checkpoints[0])),
    )
    for listed in (controls, controls[::-1]):
        assert apart(one(controlled(diffusion_folder, *listed, prompt="a red <cat>")), theirs) < NEAR


def test_rows_with_their_own_are_the_same_alone(diffusion_folder: Path, checkpoints: list[Path]) -> None:
    table = pa.table(
        {
            "prompt": [f"a {colour} circle" for colour in ("red", "blue", "green", "white", "yellow")],
            "model": [str(checkpoints[0]), str(checkpoints[1]), "", str(checkpoints[0]), str(checkpoints[2])],
            columns.ROW_ID: list("abcde"),
        }
    )
    spec = controlled(diffusion_folder, Dreambooth(checkpoint=Column(column="model"), kept=1))
    assert apart_in_company(spec, table) < NEAR
    operator = Floats(spec)
    assert len({operator.group(row) for row in operator.prepare(table, [0] * 5)}) == 4


def test_nothing_is_left_of_it(diffusion_folder: Path, checkpoints: list[Path]) -> None:
    other = plain(diffusion_folder, prompt=PROMPT)
    before = one(other)
    operator = controlled(diffusion_folder, Dreambooth(checkpoint=str(checkpoints[0]))).load()
    family = operator._family  # type: ignore[attr-defined]
    whole = state(family)
    assert operator(pa.table({"prompt": [PROMPT]}))[columns.ERROR].null_count == 1
    assert state(family) == whole
    assert apart(one(other), before) == 0


def test_what_does_not_fit_costs_its_row_alone(
    diffusion_folder: Path, sdxl: Path, checkpoints: list[Path], tmp_path: Path
) -> None:
    broken = shutil.copytree(checkpoints[0], tmp_path / "broken")
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    heads = shutil.copytree(checkpoints[0], tmp_path / "heads")
    config = json.loads((heads / "unet" / "config.json").read_text())
    (heads / "unet" / "config.json").write_text(json.dumps({**config, "attention_head_dim": 8}))
    models = [str(checkpoints[0]), str(sdxl), str(heads), str(tmp_path / "nowhere"), "name", str(broken), None]
    table = pa.table({"prompt": ["a"] * 7, "model": models})
    result = controlled(diffusion_folder, Dreambooth(checkpoint=Column(column="model"))).load()(table)
    errors = result[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == [None, *["weights_invalid"] * 5, "value_missing"]
    told = [
        "does not fit",
        "has attention_head_dim 8",
        "there is no model",
        "is no model",
        "can't be read",
    ]
    assert [word in error["message"] for word, error in zip(told, errors[1:], strict=False)] == [True] * 5


def test_a_bad_checkpoint_of_all_rows_is_told_when_it_is_loaded(diffusion_folder: Path, sdxl: Path) -> None:
    with pytest.raises(ModelError, match="does not fit the model"):
        controlled(diffusion_folder, Dreambooth(checkpoint=str(sdxl))).load()


def test_digests_are_of_what_all_rows_share(checkpoints: list[Path]) -> None:
    name = str(checkpoints[0])
    assert list(Dreambooth(checkpoint=name).digests(False)) == [name]
    assert not Dreambooth(checkpoint=Column(column="model")).digests(False)


@pytest.mark.parametrize("options", [{}, {"checkpoint": "name"}, {"checkpoint": "a/b", "kept": 0}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        controlled(Path("a/b"), {"dreambooth": options})
