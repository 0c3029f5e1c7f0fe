"""Low-rank adaptation: the same as diffusers' at batch 1, another adapter for other rows, and nothing left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from operators import Column, columns
from operators.controls.lora import Lora
from operators.controls.sega import Concept, Sega
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

PROMPT = "a red circle"
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def trained(folder: Path, target: Path, seed: int, xl: bool = False, text: bool = True, **config: Any) -> Path:
    """An adapter as diffusers' trainers save it, with random factors."""
    pipe = pipeline(folder, xl)
    torch.manual_seed(seed)
    layers = {}
    encoders = ["text_encoder", "text_encoder_2"] if xl else ["text_encoder"]
    for name in ["unet", *(encoders if text else [])]:
        network = getattr(pipe, name)
        own = {"r": 3, "lora_alpha": 3, "target_modules": ATTENTION if name == "unet" else ["q_proj", "fc1"]}
        network.add_adapter(LoraConfig(**{**own, **(config if name == "unet" else {})}))
        for parameter_name, parameter in network.named_parameters():
            if "lora_" in parameter_name:
                parameter.data.normal_(std=0.2)
        layers[f"{name}_lora_layers"] = get_peft_model_state_dict(network)
    kind = StableDiffusionXLPipeline if xl else StableDiffusionPipeline
    kind.save_lora_weights(target, **layers)
    return target / "pytorch_lora_weights.safetensors"


def kohya(folder: Path, target: Path, seed: int, alphas: tuple[float, float] = (1.0, 1.0)) -> Path:
    """An adapter as kohya's trainer saves it: other names, alphas, convolutions and feed-forward layers too."""
    pipe = pipeline(folder)
    generator = torch.Generator().manual_seed(seed)
    places = {
        "lora_unet_": (pipe.unet, ("attn1.to_q", "attn2.to_k", "attn2.to_out.0", "ff.net.0.proj", "proj_in", "conv1")),
        "lora_te_text_model_": (pipe.text_encoder, ("q_proj", "out_proj", "fc1", "fc2")),
    }
    held = {}
    for prefix, (network, ends) in places.items():
        for name, module in network.named_modules():
            if not name.endswith(ends):
                continue
            key, out = prefix + name.replace(".", "_"), module.weight.shape
            held[f"{key}.lora_down.weight"] = 0.2 * torch.randn(2, *out[1:], generator=generator)
            held[f"{key}.lora_up.weight"] = 0.2 * torch.randn(out[0], 2, *[1] * (len(out) - 2), generator=generator)
            held[f"{key}.alpha"] = torch.tensor(alphas["q" in name])
    save_file(held, target)
    return target


def theirs(folder: Path, adapters: list[tuple[Path, float]], xl: bool = False, prompt: str = PROMPT) -> torch.Tensor:
    pipe = pipeline(folder, xl)
    for at, (path, _) in enumerate(adapters):
        pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=str(at))
    pipe.set_adapters([str(at) for at in range(len(adapters))], [scale for _, scale in adapters])
    return made(pipe, prompt=prompt, **GIVEN)


@pytest.fixture(scope="module")
def adapters(diffusion_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "unet": trained(diffusion_folder, folder / "unet", 1, text=False),
        "both": trained(diffusion_folder, folder / "both", 2),
        "kohya": kohya(diffusion_folder, folder / "kohya.safetensors", 3),
    }


@pytest.mark.parametrize("name", ["unet", "both", "kohya"])
def test_it_is_diffusers(diffusion_folder: Path, adapters: dict[str, Path], name: str) -> None:
    expected = theirs(diffusion_folder, [(adapters[name], 0.7)])
    ours = one(controlled(diffusion_folder, Lora(weights=str(adapters[name]), scale=0.7), prompt=PROMPT))
    assert apart(ours, expected) < NEAR
    assert apart(ours, one(plain(diffusion_folder, prompt=PROMPT))) > FAR


def test_every_module_has_its_own_alpha(diffusion_folder: Path, tmp_path: Path) -> None:
    path = kohya(diffusion_folder, tmp_path / "alphas.safetensors", 6, alphas=(3.0, 0.5))
    family = controlled(diffusion_folder).load()._family  # type: ignore[attr-defined]
    control = Lora(weights=str(path), scale=0.3).load(family, False)
    held = load_file(path)
    places = {"unet": family.unet, "te_text_model": family.text_encoders[0][1]}
    modules = {
        f"lora_{prefix}_{name.replace('.', '_')}": module
        for prefix, network in places.items()
        for name, module in network.named_modules()
    }
    keys = {key.split(".")[0] for key in held}
    own = {key: modules[key].weight.clone() for key in keys}
    [asked] = control.prepare(ROW, [None])
    with control.installed(asked):
        for key in keys:
            up, down, alpha = (held[f"{key}.{part}"] for part in ("lora_up.weight", "lora_down.weight", "alpha"))
            change = 0.3 * alpha / 2 * torch.einsum("or...,ri...->oi...", up, down)
            assert apart(modules[key].weight, own[key] + change) < 1e-6
            assert float(change.abs().max()) > 1e-3
    assert all(apart(modules[key].weight, own[key]) == 0 for key in keys)


def test_several_are_diffusers(diffusion_folder: Path, adapters: dict[str, Path]) -> None:
    given = [(adapters["both"], 0.8), (adapters["kohya"], -0.4)]
    ours = one(controlled(diffusion_folder, *(Lora(weights=str(p), scale=s) for p, s in given), prompt=PROMPT))
    assert apart(ours, theirs(diffusion_folder, given)) < NEAR


def test_it_is_diffusers_with_two_text_encoders(sdxl: Path, tmp_path: Path) -> None:
    path = trained(sdxl, tmp_path / "xl", 4, xl=True)
    ours = one(controlled(sdxl, Lora(weights=str(path.parent), scale=0.5), prompt=PROMPT))
    assert apart(ours, theirs(sdxl, [(path, 0.5)], xl=True)) < NEAR
    assert apart(ours, one(plain(sdxl, prompt=PROMPT))) > FAR


def test_alphas_in_the_metadata_count(diffusion_folder: Path, tmp_path: Path) -> None:
    pipe = pipeline(diffusion_folder)
    config = LoraConfig(r=4, lora_alpha=2, target_modules=ATTENTION, alpha_pattern={"attn2.to_k": 6}, use_rslora=True)
    torch.manual_seed(5)
    pipe.unet.add_adapter(config)
    for name, parameter in pipe.unet.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.2)
    layers = get_peft_model_state_dict(pipe.unet)
    StableDiffusionPipeline.save_lora_weights(tmp_path, layers, unet_lora_adapter_metadata=config.to_dict())
    path = tmp_path / "pytorch_lora_weights.safetensors"
    ours = one(controlled(diffusion_folder, Lora(weights=str(path)), prompt=PROMPT))
    assert apart(ours, theirs(diffusion_folder, [(path, 1.0)])) < NEAR
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(path), bare)
    assert apart(ours, one(controlled(diffusion_folder, Lora(weights=str(bare)), prompt=PROMPT))) > FAR


def test_rows_with_their_own_are_the_same_alone(diffusion_folder: Path, adapters: dict[str, Path]) -> None:
    names = ["both", "kohya", "both", "", "both"]
    table = pa.table(
        {
            "prompt": [f"a {colour} circle" for colour in ("red", "blue", "green", "white", "yellow")],
            "file": [str(adapters[name]) if name else "" for name in names],
            "scale": [0.5, 1.0, 0.5, 1.0, 0.0],
            columns.ROW_ID: list("abcde"),
        }
    )
    control = Lora(weights=Column(column="file"), scale=Column(column="scale"), kept=1)
    spec = controlled(diffusion_folder, control, Sega(concepts=(Concept(prompt="a star", warmup=0),)))
    assert apart_in_company(spec, table) < NEAR
    operator = Floats(spec)
    groups = [operator.group(row) for row in operator.prepare(table, [0] * 5)]
    assert groups[0] == groups[2] != groups[1]
    assert groups[3] == groups[4] not in groups[:3]


def test_nothing_is_left_of_it(diffusion_folder: Path, adapters: dict[str, Path]) -> None:
    other = plain(diffusion_folder, prompt=PROMPT)
    before = one(other)
    operator = controlled(diffusion_folder, Lora(weights=str(adapters["both"]))).load()
    family = operator._family  # type: ignore[attr-defined]
    whole = state(family)
    assert operator(pa.table({"prompt": [PROMPT]}))[columns.ERROR].null_count == 1
    assert state(family) == whole
    assert apart(one(other), before) == 0


def test_a_bad_adapter_costs_its_row_alone(
    diffusion_folder: Path, sdxl: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    other = trained(sdxl, tmp_path / "xl", 4, xl=True)
    unknown, half, dora = (tmp_path / f"{name}.safetensors" for name in ("unknown", "half", "dora"))
    save_file({"unet.conv_in.hada_w1_a": torch.ones(1)}, unknown)
    save_file({"unet.conv_in.lora.down.weight": torch.ones(1, 4, 3, 3)}, half)
    save_file({"unet.conv_in.dora_scale": torch.ones(1)}, dora)
    files = [str(path) for path in (adapters["unet"], other, unknown, half, dora)]
    table = pa.table({"prompt": ["a"] * 6, "file": [*files, None]})
    result = controlled(diffusion_folder, Lora(weights=Column(column="file"))).load()(table)
    errors = result[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == [None, *["weights_invalid"] * 4, "value_missing"]
    told = [
        "does not fit the model",
        "it has unet.conv_in.hada_w1_a",
        "only one of two factors",
        "is a DoRA",
        "is null",
    ]
    assert [word in error["message"] for word, error in zip(told, errors[1:], strict=True)] == [True] * 5


def test_a_bad_adapter_of_all_rows_is_told_when_it_is_loaded(
    diffusion_folder: Path, sdxl: Path, tmp_path: Path
) -> None:
    path = trained(sdxl, tmp_path / "xl", 4, xl=True)
    with pytest.raises(ModelError, match="does not fit the model"):
        controlled(diffusion_folder, Lora(weights=str(path))).load()


@pytest.mark.parametrize("options", [{}, {"weights": "builtin:x"}, {"weights": "a/b", "scale": float("nan")}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        controlled(Path("a/b"), {"lora": options})
