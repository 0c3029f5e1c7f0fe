"""Prompt weighting: what compel gives diffusers' pipelines, and plain text plainly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from compel import CompelForSD, CompelForSDXL
from pydantic import ValidationError
from safetensors.torch import save_file

from operators import Column, columns
from operators.controls.prompt_weighting import PromptWeighting
from operators.controls.sega import Concept, Sega
from operators.controls.textual_inversion import TextualInversion
from operators.diffusion.weighting import translated
from operators.errors import ValueInvalidError
from tests.operators.controls.adapted import FAR, NEAR, ROW, apart, controlled, made, one, pipeline, plain
from tests.operators.floats import Floats, apart_in_company
from tests.operators.tiny import WIDTH

LONG = "a red circle on a blue background, " * 5
WEIGHTED = {
    "plus": "a red++ circle",
    "minus": "a red circle-- and a star",
    "number": "(a red)1.7 circle",
    "nested": "((a red)1.2 circle)1.3",
    "blend": '("a red circle", "a blue star").blend(0.7, 0.3)',
    "long": LONG + "with a (green star)1.5",
}


@pytest.mark.parametrize("name", list(WEIGHTED))
def test_it_is_compel_with_diffusers(diffusion_folder: Path, name: str) -> None:
    pipe = pipeline(diffusion_folder)
    told = CompelForSD(pipe)(WEIGHTED[name], negative_prompt="green")
    theirs = made(pipe, prompt_embeds=told.embeds, negative_prompt_embeds=told.negative_embeds, guidance_scale=6.0)
    ours = one(controlled(diffusion_folder, PromptWeighting(long_prompts=True), prompt=WEIGHTED[name]))
    assert apart(ours, theirs) < NEAR
    assert apart(ours, one(plain(diffusion_folder, prompt=WEIGHTED[name]))) > FAR


@pytest.mark.parametrize("name", ["number", "blend", "long"])
def test_it_is_compel_with_two_text_encoders(sdxl: Path, name: str) -> None:
    pipe = pipeline(sdxl, xl=True)
    told = CompelForSDXL(pipe)(WEIGHTED[name], negative_prompt="green")
    theirs = made(
        pipe,
        prompt_embeds=told.embeds,
        pooled_prompt_embeds=told.pooled_embeds,
        negative_prompt_embeds=told.negative_embeds,
        negative_pooled_prompt_embeds=told.negative_pooled_embeds,
        guidance_scale=6.0,
    )
    ours = one(controlled(sdxl, PromptWeighting(long_prompts=True), prompt=WEIGHTED[name]))
    assert apart(ours, theirs) < NEAR
    assert apart(ours, one(plain(sdxl, prompt=WEIGHTED[name]))) > FAR


@pytest.mark.parametrize("name", ["diffusion_folder", "sd2", "sdxl"])
def test_plain_text_is_encoded_plainly(name: str, request: pytest.FixtureRequest) -> None:
    family = plain(request.getfixturevalue(name)).load()._family  # type: ignore[attr-defined]
    texts = ["a red circle", "", "a star, on blue. large", LONG]
    control = PromptWeighting().load(family, False)
    with torch.no_grad():
        expected = family.encode_prompts(texts)
        with control.installed(1):
            found = family.encode_prompts(texts)
            left_out = family.truncated([texts])
    assert apart(found.hidden, expected.hidden) < 1e-5
    assert (found.pooled is None) == (expected.pooled is None)
    assert found.pooled is None or apart(found.pooled, expected.pooled) < 1e-5
    assert left_out == family.truncated([texts])
    assert left_out[0]


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("a (red circle:1.3), large", "a (red circle)1.3, large"),
        ("((a:1.2) b: 2 )", "((a)1.2 b)2"),
        ("(a:.5)b", "(a).5 b"),
        ("at 10:30), (a", "at 10:30), (a"),
        (r"\(a:1.3\) \(b:1.3)", r"\(a:1.3\) \(b:1.3)"),
        ("(a)1.3 b++", "(a)1.3 b++"),
    ],
)
def test_a_weight_may_stand_in_the_parentheses(written: str, known: str) -> None:
    assert translated(written) == known


def test_rows_of_every_length_are_the_same_alone(diffusion_folder: Path) -> None:
    prompts = ["a (red)1.5 circle", f"a star, {LONG}", "a blue++ ring", f"a ring, {LONG}{LONG}"]
    table = pa.table(
        {
            "prompt": prompts,
            "negative": ["green", "", LONG, "(blue:1.2)"],
            "concept": ["a star", "a star++", LONG, "a ring"],
            columns.ROW_ID: list("abcd"),
        }
    )
    concept = Sega(concepts=(Concept(prompt=Column(column="concept"), warmup=0),))
    for long, groups in ((False, 1), (True, 3)):
        spec = controlled(diffusion_folder, PromptWeighting(long_prompts=long), concept)
        spec = spec.model_copy(update={"negative_prompt": Column(column="negative"), "steps": 2})
        operator = Floats(spec)
        assert len({operator.group(row) for row in operator.prepare(table, [0] * 4)}) == groups
    assert apart_in_company(spec, table) < NEAR


def test_nothing_is_left_out_of_long_prompts(diffusion_folder: Path) -> None:
    table = pa.table({"prompt": [f"(a star)1.3 {LONG}", "(a)1.2 ring"]})
    for long in (True, False):
        result = controlled(diffusion_folder, PromptWeighting(long_prompts=long)).load()(table)
        left_out = result["generated_image_truncated"].to_pylist()
        assert left_out[1] is None
        assert (left_out[0] is None) == long
    assert LONG.replace(",", " ,").strip().endswith(left_out[0].strip())


def test_it_weights_words_that_were_learnt(diffusion_folder: Path, tmp_path: Path) -> None:
    learnt = 0.5 * torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))
    save_file({"<cat>": learnt}, tmp_path / "learned_embeds.safetensors")
    pipe = pipeline(diffusion_folder)
    pipe.load_textual_inversion(str(tmp_path))
    told = CompelForSD(pipe)("a (<cat> <cat>_1 <cat>_2)1.5 on red", negative_prompt="green")
    theirs = made(pipe, prompt_embeds=told.embeds, negative_prompt_embeds=told.negative_embeds, guidance_scale=6.0)
    inversion, prompt = TextualInversion(embedding=str(tmp_path)), "a (<cat>:1.5) on red"
    for controls in ((PromptWeighting(), inversion), (inversion, PromptWeighting())):
        assert apart(one(controlled(diffusion_folder, *controls, prompt=prompt)), theirs) < NEAR
    per_row = TextualInversion(embedding=Column(column="file"))
    spec = controlled(diffusion_folder, PromptWeighting(long_prompts=True), per_row)
    table = pa.table({"prompt": ["<cat> " * 9, "<cat> " * 14], "file": [str(tmp_path)] * 2, columns.ROW_ID: ["a", "b"]})
    operator = spec.load()
    assert [operator.group(row)[-1][0] for row in operator.prepare(table, [0, 0])] == [1, 2]


def test_broken_syntax_costs_its_row_alone(diffusion_folder: Path) -> None:
    prompts = [
        "a (red)1.2 circle",
        '("a", "b").blend(1)',
        '("a", "b").blend(1, x)',
        "()1.3",
        "a cat.swap(dog)",
        "a withLora(x, 0.3)",
        "(" * 2000 + "a" + ")" * 2000,
    ]
    result = controlled(diffusion_folder, PromptWeighting()).load()(pa.table({"prompt": prompts}))
    errors = result[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == [None, *["value_invalid"] * 6]
    told = ["mismatched prompts/weights", "could not convert", "weights nothing", "swap", "control `lora`", "too many"]
    assert [word in error["message"] for word, error in zip(told, errors[1:], strict=True)] == [True] * 6


def test_parentheses_within_others_take_no_time(diffusion_folder: Path) -> None:
    control = PromptWeighting().load(plain(diffusion_folder).load()._family, False)  # type: ignore[attr-defined]
    assert control.prepare(ROW, [("(" * 20 + "a" + ")" * 20, "(" * 20 + "a")]) == [1]


def test_a_text_longer_than_was_told_is_refused(diffusion_folder: Path) -> None:
    family = plain(diffusion_folder).load()._family  # type: ignore[attr-defined]
    control = PromptWeighting(long_prompts=True).load(family, False)
    with torch.no_grad(), control.installed(1), pytest.raises(ValueInvalidError, match="takes more"):
        family.encode_prompts([LONG])


@pytest.mark.parametrize("options", [{"long": True}, {"long_prompts": "maybe"}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        controlled(Path("a/b"), {"prompt_weighting": options})
