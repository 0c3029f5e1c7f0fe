"""Textual inversion: the same as diffusers' at batch 1, other words for other rows, and nothing left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from operators import METHODS, Column, Edit, columns
from operators.controls.sega import Concept, Sega
from operators.controls.textual_inversion import TextualInversion
from operators.errors import ModelError
from tests.operators.controls.adapted import FAR, NEAR, ROW, apart, controlled, made, one, pipeline, plain, state
from tests.operators.edits import floats_of as edited
from tests.operators.floats import Floats, apart_in_company
from tests.operators.tiny import WIDTH

METHOD_OF: dict[str, type[Edit]] = {method.model_fields["method"].default: method for method in METHODS}
PROMPT = "a photo of <cat>, on a red background"


def vectors(count: int, seed: int = 0) -> torch.Tensor:
    return 0.5 * torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def learnt(tmp_path: Path) -> Path:
    """Files of every form, each with vectors of its own."""
    save_file({"<cat>": vectors(1, 1)}, tmp_path / "learned_embeds.safetensors")
    torch.save({"<cat>": vectors(1, 2)[0]}, tmp_path / "one.bin")
    torch.save({"<cat>": vectors(3, 3)}, tmp_path / "several.bin")
    torch.save({"string_to_param": {"*": vectors(2, 4)}, "name": "<cat>"}, tmp_path / "a1111.pt")
    save_file({"emb_params": vectors(2, 5)}, tmp_path / "cat.safetensors")
    save_file({"clip_l": vectors(2, 6), "clip_g": vectors(2, 7)}, tmp_path / "xl.safetensors")
    return tmp_path


@pytest.mark.parametrize("name", ["learned_embeds.safetensors", "one.bin", "several.bin", "a1111.pt"])
def test_it_is_diffusers(diffusion_folder: Path, learnt: Path, name: str) -> None:
    pipe = pipeline(diffusion_folder)
    pipe.load_textual_inversion(str(learnt / name))
    given = {"prompt": PROMPT, "negative_prompt": "green", "guidance_scale": 6.0}
    theirs = made(pipe, **given)
    ours = one(
        controlled(diffusion_folder, TextualInversion(embedding=str(learnt / name)), prompt=PROMPT, allow_pickle=True)
    )
    assert apart(ours, theirs) < NEAR
    assert apart(ours, one(plain(diffusion_folder, prompt=PROMPT))) > FAR


def test_it_is_diffusers_with_two_text_encoders(sdxl: Path, learnt: Path) -> None:
    pipe = pipeline(sdxl, xl=True)
    for at, (tokenizer, encoder) in enumerate(
        [(pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2)]
    ):
        pipe.load_textual_inversion({"<cat>": vectors(2, 6 + at)}, tokenizer=tokenizer, text_encoder=encoder)
    theirs = made(pipe, prompt=PROMPT, negative_prompt="green", guidance_scale=6.0)
    inversion = TextualInversion(embedding=str(learnt / "xl.safetensors"), token="<cat>")
    ours = one(controlled(sdxl, inversion, prompt=PROMPT))
    assert apart(ours, theirs) < NEAR
    assert apart(ours, one(plain(sdxl, prompt=PROMPT))) > FAR


def test_a_text_ends_where_it_ends_and_not_at_the_learnt_word(sdxl: Path, learnt: Path) -> None:
    family = controlled(sdxl).load()._family  # type: ignore[attr-defined]
    control = TextualInversion(embedding=str(learnt / "xl.safetensors"), token="<cat>").load(family, False)
    [asked] = control.prepare(ROW, [None])
    owner = family.text_encoders[1][1].text_model
    own = owner.eos_token_id

    def pooled(eos_token_id: int) -> torch.Tensor:
        owner.eos_token_id = eos_token_id
        with torch.no_grad(), control.installed(asked), family.encoding(eos_token_id):
            return family.encode_prompts([PROMPT]).pooled

    try:
        # With 2 in its configuration an encoder takes the highest token for the end of the text.
        assert apart(pooled(2), pooled(own)) == 0
        assert owner.eos_token_id == own
    finally:
        owner.eos_token_id = own


def test_rows_share_a_batch_each_with_its_own(diffusion_folder: Path, learnt: Path) -> None:
    files = ["learned_embeds.safetensors", "several.bin", "", "a1111.pt"]
    table = pa.table(
        {
            "prompt": [f"a <cat> on {colour}" for colour in ("red", "blue", "green", "white")],
            "file": [name and str(learnt / name) for name in files],
            columns.ROW_ID: list("abcd"),
        }
    )
    control = TextualInversion(embedding=Column(column="file"))
    concept = Sega(concepts=(Concept(prompt="a <cat>", warmup=0),))
    spec = controlled(diffusion_folder, concept, control, allow_pickle=True)
    assert apart_in_company(spec, table) < NEAR
    operator = Floats(spec)
    assert len({operator.group(row) for row in operator.prepare(table, [0] * 4)}) == 1
    together = operator.floats(table)
    constant = controlled(
        diffusion_folder,
        concept,
        TextualInversion(embedding=str(learnt / "several.bin")),
        allow_pickle=True,
        prompt=table["prompt"][1].as_py(),
    )
    assert apart(one(constant)[0], together[table["prompt"][1].as_py()]) < NEAR


def test_nothing_is_left_of_it(diffusion_folder: Path, learnt: Path) -> None:
    other = plain(diffusion_folder, prompt=PROMPT)
    before = one(other)
    operator = controlled(diffusion_folder, TextualInversion(embedding=str(learnt / "cat.safetensors"))).load()
    family = operator._family  # type: ignore[attr-defined]
    whole, tokenizers = state(family), [tokenizer for tokenizer, _ in family.text_encoders]
    sizes = [len(tokenizer) for tokenizer in tokenizers]
    assert operator(pa.table({"prompt": ["a cat"]}))[columns.ERROR].null_count == 1
    assert state(family) == whole
    assert [tokenizer for tokenizer, _ in family.text_encoders] == tokenizers
    assert [len(tokenizer) for tokenizer in tokenizers] == sizes
    assert apart(one(other), before) == 0


def test_what_is_left_out_has_the_words_of_the_row(diffusion_folder: Path, learnt: Path) -> None:
    control = TextualInversion(embedding=Column(column="file"))
    operator = controlled(diffusion_folder, control, allow_pickle=True).load()
    prompts = [f"{'a red ' * 13}<cat> blue <cat>", f"{'a red ' * 14}<cat> blue <cat> star", "a <cat>"]
    result = operator(pa.table({"prompt": prompts, "file": [str(learnt / "several.bin")] * 3}))
    assert result["generated_image_truncated"].to_pylist() == ["<cat>", "<cat> blue <cat> star", None]


def test_a_word_is_taken_where_it_stands_by_itself(diffusion_folder: Path, learnt: Path) -> None:
    family = controlled(diffusion_folder).load()._family  # type: ignore[attr-defined]
    control = TextualInversion(embedding=str(learnt / "cat.safetensors")).load(family, False)
    [asked] = control.prepare(ROW, [None])
    assert asked is not None
    name = asked.name
    assert control.worded(asked, "a cat, cats and a concat") == f"a {name}, cats and a concat"


def test_a_bad_embedding_costs_its_row_alone(diffusion_folder: Path, sdxl: Path, learnt: Path) -> None:
    control = TextualInversion(embedding=Column(column="file"))
    (learnt / "broken.safetensors").write_bytes(b"{}")
    names = ["learned_embeds.safetensors", "one.bin", "nowhere.safetensors", "xl.safetensors", "broken.safetensors"]
    files = [str(learnt / name) for name in names]
    table = pa.table({"prompt": ["a <cat>"] * 7, "file": [*files, None, "word"]})
    errors = controlled(diffusion_folder, control).load()(table)[columns.ERROR].to_pylist()
    assert [error and error["code"] for error in errors] == [
        None,
        *["weights_invalid"] * 4,
        "value_missing",
        "weights_invalid",
    ]
    told = ["a pickle", "no such file", "holds no vectors", "can't be read", "is null", "is no adapter"]
    assert [word in error["message"] for word, error in zip(told, errors[1:], strict=True)] == [True] * 6


def test_a_bad_embedding_of_all_rows_is_told_when_it_is_loaded(diffusion_folder: Path, learnt: Path) -> None:
    with pytest.raises(ModelError, match=r"one\.bin, a pickle, .* `allow_pickle: true`"):
        controlled(diffusion_folder, TextualInversion(embedding=str(learnt / "one.bin"))).load()
    (learnt / "learned_embeds.safetensors").rename(learnt / "other.safetensors")
    with pytest.raises(ModelError, match="has several files of weights"):
        controlled(diffusion_folder, TextualInversion(embedding=str(learnt))).load()


def test_digests_are_of_what_all_rows_share(diffusion_folder: Path, learnt: Path) -> None:
    name = str(learnt / "cat.safetensors")
    assert list(TextualInversion(embedding=name).digests(False)) == [name]
    assert TextualInversion(embedding=name).models() == (name,)
    assert controlled(diffusion_folder, TextualInversion(embedding=name)).load().digests().keys() > {name}
    assert not TextualInversion(embedding=Column(column="file")).models()


@pytest.mark.parametrize("options", [{}, {"embedding": ""}, {"embedding": "cat"}, {"embedding": "a/b", "token": ""}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        controlled(Path("a/b"), {"textual_inversion": options})


@pytest.mark.parametrize("method", ["img2img", "pix2pix_zero", "diffedit"])
def test_edits_of_rows_with_their_own_are_the_same_alone(
    diffusion_folder: Path, learnt: Path, pictures: pa.StructArray, method: str
) -> None:
    files = ["several.bin", "a1111.pt", ""]
    table = pa.table(
        {
            "image": pictures[:3],
            "caption": ["a red circle", "a blue circle", "a star"],
            "target": ["a red <cat>", "a blue <cat>", "a white <cat>"],
            "file": [name and str(learnt / name) for name in files],
            columns.ROW_ID: list("abc"),
        }
    )
    spec = METHOD_OF[method](
        model=str(diffusion_folder),
        target_prompt=Column(column="target"),
        controls=(TextualInversion(embedding=Column(column="file")),),
        steps=4,
        allow_pickle=True,
        **{"diffedit": {"empty": "copy"}, "pix2pix_zero": {"start": "noise"}}.get(method, {}),
    )
    operator = spec.load()
    together = edited(operator, table)
    for row in range(3):
        [(target, alone)] = edited(operator, table.slice(row, 1)).items()
        assert apart(alone, together[target]) < NEAR
    plainly = edited(spec.model_copy(update={"controls": ()}).load(), table)
    assert [apart(plainly[target], together[target]) > NEAR for target in together] == [True, True, False]
