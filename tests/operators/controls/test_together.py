"""Controls in pairs: those that don't go together are refused, the others do, and a row is the same alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file

from operators import METHODS, Edit, Generate, columns
from operators.controls import CONTROLS
from operators.controls.combining import refusal
from operators.images import encode_all
from tests.operators import tiny_conditions
from tests.operators.controls.test_custom_diffusion import customised
from tests.operators.controls.test_lora import trained
from tests.operators.controls.test_textual_inversion import vectors
from tests.operators.floats import apart_in_company, floats

WEIGHTS = "WEIGHTS/"
"""Stands for the folder of models and adapters."""
OPTIONS: dict[str, dict[str, Any]] = {
    "attend_and_excite": {"indices": [2], "max_refinement_steps": 2},
    "controlnet": {"model": WEIGHTS + "controlnet", "image": "image"},
    "custom_diffusion": {"weights": WEIGHTS + "custom"},
    "dreambooth": {"checkpoint": WEIGHTS + "other-base"},
    "lora": {"weights": WEIGHTS + "lora", "scale": 0.6},
    "model_editing": {"edits": [{"source": "a circle", "destination": "a red circle"}]},
    "prompt_weighting": {"long_prompts": True},
    "regions": {"regions": [{"prompt": "a star", "box": [0.0, 0.0, 0.5, 1.0]}], "bootstrapping": 1},
    "safe": {"warmup": 0, "concept": "a square", "guidance_scale": 50.0, "threshold": 0.5},
    "sega": {"concepts": [{"prompt": "blue", "warmup": 0, "guidance_scale": 20.0}]},
    "t2i_adapter": {"model": WEIGHTS + "t2i", "image": "image"},
    "textual_inversion": {"embedding": WEIGHTS + "learned_embeds.safetensors", "token": "circle"},
}
"""Options of the controls that have to be given some, or shall be strong enough to be seen."""
PAIRS = list(combinations_with_replacement(CONTROLS, 2))
METHOD_OF: dict[str, type[Edit]] = {method.model_fields["method"].default: method for method in METHODS}
OWN_MODEL = {"depth2img": "depth", "image_prompt": "variation", "unclip": "unclip"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, diffusion_folder: Path) -> Path:
    """Models and adapters of every control."""
    at = tmp_path_factory.mktemp("together")
    base = tiny_conditions.deeper(at / "base", diffusion_folder)
    other = tiny_conditions.deeper(at / "other-base", diffusion_folder, seed=9)
    tiny_conditions.controlnet(at / "controlnet", base)
    tiny_conditions.t2i_adapter(at / "t2i")
    depth = tiny_conditions.depth_model(at / "dpt")
    for name, model, seed in (("", base, 1), ("other-", other, 2)):
        tiny_conditions.depth2img(at / f"{name}depth", model, depth, seed)
        tiny_conditions.image_variation(at / f"{name}variation", model)
        tiny_conditions.unclip(at / f"{name}unclip", model, seed)
    trained(base, at / "lora", 1, text=False)
    customised(StableDiffusionPipeline.from_pretrained(base, safety_checker=None), at / "custom", 2, False)
    save_file({"<cat>": vectors(1, 1)}, at / "learned_embeds.safetensors")
    return at


@pytest.fixture
def table(pictures: pa.StructArray) -> pa.Table:
    prompts = ["a red circle", "a blue circle on a white background"]
    weighted = ["a (red)1.6 circle--", "a blue circle++ on a white background"]
    return pa.table({"prompt": prompts, "weighted": weighted, "image": pictures[:2], columns.ROW_ID: ["a", "b"]})


def kind_of_model(kinds: Sequence[str]) -> str:
    return next((OWN_MODEL[kind] for kind in kinds if kind in OWN_MODEL), "base")


def controls(at: Path, *kinds: str) -> list[dict[str, Any]]:
    written = json.dumps([{kind: OPTIONS.get(kind, {})} for kind in kinds])
    return list(json.loads(written.replace(WEIGHTS, f"{at}/").replace("other-base", f"other-{kind_of_model(kinds)}")))


def model(at: Path, *kinds: str) -> str:
    return str(at / kind_of_model(kinds))


def why_not(one: str, other: str) -> str | None:
    if one == other:
        return None if CONTROLS[one].repeatable else "twice"
    return refusal(CONTROLS[one].touches, CONTROLS[other].touches)


@pytest.mark.parametrize(("one", "other"), [pair for pair in PAIRS if why_not(*pair)])
def test_a_pair_that_does_not_go_together_is_refused(one: str, other: str) -> None:
    with pytest.raises(ValidationError, match=why_not(one, other)):
        Generate(controls=controls(Path("/x/y"), one, other))


@pytest.mark.parametrize("kind", CONTROLS)
@pytest.mark.parametrize("method", METHOD_OF)
def test_a_control_is_refused_of_a_method_that_it_does_not_go_with(kind: str, method: str) -> None:
    reason = refusal(CONTROLS[kind].touches, METHOD_OF[method].touches)
    given = {"to": "star", "from": "circle", "model": "./x", "controls": controls(Path("./x"), kind)}
    if reason is None:
        assert METHOD_OF[method](**given).controls[0].kind == kind
        return
    with pytest.raises(ValidationError, match=reason):
        METHOD_OF[method](**given)


@pytest.mark.long
@pytest.mark.parametrize(("one", "other"), [pair for pair in PAIRS if not why_not(*pair)])
def test_a_pair_does_what_neither_does_alone(weights: Path, table: pa.Table, one: str, other: str) -> None:
    options: Any = {"model": model(weights, one, other), "steps": 2, "width": 80, "height": 64, "seed": 3}
    if one == "depth2img" or other == "depth2img":
        options |= {"image": "image", "strength": 1.0}
    if "prompt_weighting" in (one, other):
        options["prompt"] = {"column": "weighted"}
    both = Generate(controls=controls(weights, one, other), **options)
    assert apart_in_company(both, table) < 1e-4
    made = floats(both, table)
    for single in {one, other} - set(OWN_MODEL):
        left = [kind for kind in (one, other) if kind != single]
        without = floats(Generate(controls=controls(weights, *left), **options), table)
        assert (made - without).abs().max() > 1e-5, f"{single} changes nothing"


@pytest.mark.long
@pytest.mark.parametrize("kind", CONTROLS)
@pytest.mark.parametrize("method", METHOD_OF)
def test_a_control_works_under_a_method(weights: Path, table: pa.Table, kind: str, method: str) -> None:
    spec = METHOD_OF[method]
    if refusal(CONTROLS[kind].touches, spec.touches) or method == "instruct":
        pytest.skip("refused, or with a model of its own")
    given: Any = {"from": "circle", "to": "star", "prompt": {"column": "prompt"}, "steps": 3, "seed": 3}
    given |= {"pix2pix_zero": {"start": "noise"}, "diffedit": {"mask_strength": 0.7}}.get(method, {})
    masks = encode_all([Image.new("L", (64, 64), 255)] * 2)
    made = spec(model=model(weights, kind), controls=controls(weights, kind), **given)
    result = made.load()(table.append_column("mask", pa.array(masks, columns.IMAGE)))
    assert result[columns.ERROR].null_count == 2, result[columns.ERROR]
