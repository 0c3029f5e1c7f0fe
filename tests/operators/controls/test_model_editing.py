"""Model editing: the closed form, what it does to keys and values, and nothing left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError

from operators import columns
from operators.controls.lora import Lora
from operators.controls.model_editing import ModelEditing
from operators.diffusion.time_editing import aligned, edited_weights, projections
from operators.errors import ModelError
from tests.operators.controls.adapted import FAR, GIVEN, NEAR, apart, controlled, made, one, pipeline, plain, state
from tests.operators.controls.test_lora import trained

EDIT = ("a circle", "a blue circle")
EDITS = {"edits": [{"source": EDIT[0], "destination": EDIT[1]}]}


def family_of(folder: Path) -> Any:
    return plain(folder).load()._family  # type: ignore[attr-defined]


def closed_form(
    folder: Path, texts: list[tuple[str, str]], regularisation: float
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """The paper's, token by token and layer by layer, in double precision, from diffusers' own parts."""
    pipe = pipeline(folder)
    contexts, wanted = [], []
    for pair in texts:
        ids = [pipe.tokenizer(text).input_ids for text in pair]
        with torch.no_grad():
            embedded = [pipe.encode_prompt(text, "cpu", 1, False)[0][0].double().numpy() for text in pair]
        length, at = len(embedded[0]), 0
        for place in range(length):
            if place < len(ids[0]):
                while ids[1][at] != ids[0][place]:
                    at += 1
            contexts.append(embedded[0][place])
            wanted.append(embedded[1][min(at, length - 1)])
            at += 1
    edited = {}
    for name, layer in pipe.unet.named_modules():
        if name.endswith("attn2"):
            for side in ("to_v", "to_k"):
                weight = getattr(layer, side).weight.detach().double().numpy()
                left = regularisation * weight
                right = regularisation * np.eye(weight.shape[1])
                for context, want in zip(contexts, wanted, strict=True):
                    left = left + np.outer(weight @ want, context)
                    right = right + np.outer(context, context)
                edited[f"{name}.{side}.weight"] = left @ np.linalg.inv(right)
    return edited


AUGMENTED = [EDIT, *((start + EDIT[0], start + EDIT[1]) for start in ("A photo of ", "An image of ", "A picture of "))]


@pytest.mark.parametrize("augment", [False, True])
def test_it_is_the_closed_form(diffusion_folder: Path, augment: bool) -> None:
    family = family_of(diffusion_folder)
    expected = closed_form(diffusion_folder, AUGMENTED if augment else [EDIT], 0.3)
    found = edited_weights(family, [EDIT], 0.3, keys=True, augment=augment)
    places = {id(parameter): name for name, parameter in family.unet.named_parameters()}
    assert {places[id(parameter)] for parameter, _ in found} == set(expected)
    for parameter, edited in found:
        own = expected[places[id(parameter)]]
        assert np.abs(edited.numpy() - own).max() < 1e-4 * np.abs(own).max()
        assert apart(edited, parameter) > 1e-2


def test_pictures_are_those_of_diffusers_with_such_weights(diffusion_folder: Path) -> None:
    pipe = pipeline(diffusion_folder)
    weights = {name: torch.from_numpy(own).float() for name, own in closed_form(diffusion_folder, [EDIT], 0.1).items()}
    pipe.unet.load_state_dict(weights, strict=False)
    theirs = made(pipe, prompt="a circle", **GIVEN)
    ours = one(controlled(diffusion_folder, ModelEditing(**EDITS, augment=False), prompt="a circle"))
    assert apart(ours, theirs) < NEAR
    assert apart(ours, one(plain(diffusion_folder, prompt="a circle"))) > FAR


def test_the_source_gets_the_keys_and_values_of_the_destination(diffusion_folder: Path) -> None:
    family = family_of(diffusion_folder)
    with torch.no_grad():
        source, destination = family.encode_texts(EDIT).hidden
    # The start, "a", and then "circle", which is one later in the destination.
    strong = edited_weights(family, [EDIT], 1e-5, keys=True, augment=False)
    for weight, edited in strong:
        wanted, own = weight @ destination[3], weight @ source[2]
        assert apart(edited @ source[2], wanted) < 0.1 * apart(own, wanted)


def test_what_the_source_does_not_say_stays(diffusion_folder: Path) -> None:
    family = family_of(diffusion_folder)
    with torch.no_grad():
        source, _ = family.encode_texts(EDIT).hidden
        said, unsaid = torch.linalg.svd(source).Vh[[0, -1]]
    for weight, edited in edited_weights(family, [EDIT], 0.3, keys=True, augment=False):
        assert apart(edited @ unsaid, weight @ unsaid) < 0.1 * apart(edited @ said, weight @ said)
    for weight, edited in edited_weights(family, [EDIT], 1e7, keys=True, augment=False):
        assert apart(edited, weight) < 1e-4


def test_values_alone_can_be_edited(diffusion_folder: Path) -> None:
    family = family_of(diffusion_folder)
    found = edited_weights(family, [EDIT], 0.1, keys=False, augment=False)
    assert len(found) * 2 == len(projections(family.unet))
    assert all(parameter is weight for (parameter, _), weight in zip(found, projections(family.unet), strict=False))


def test_tokens_stand_for_those_of_the_same_word() -> None:
    assert aligned([0, 5, 6, 9], [0, 5, 7, 6, 9], 8) == [0, 1, 3, 4, 5, 6, 7, 7]
    assert aligned([0, 5, 9], [0, 5, 9], 4) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="5 is not"):
        aligned([0, 6, 5], [0, 5, 6], 4)


def test_it_goes_with_a_lora_in_either_order(diffusion_folder: Path, tmp_path: Path) -> None:
    path = trained(diffusion_folder, tmp_path / "lora", 1)
    pipe = pipeline(diffusion_folder)
    weights = {name: torch.from_numpy(own).float() for name, own in closed_form(diffusion_folder, [EDIT], 0.1).items()}
    pipe.unet.load_state_dict(weights, strict=False)
    pipe.load_lora_weights(str(path.parent))
    theirs = made(pipe, prompt="a circle", **GIVEN)
    controls = (ModelEditing(**EDITS, augment=False), Lora(weights=str(path)))
    for listed in (controls, controls[::-1]):
        assert apart(one(controlled(diffusion_folder, *listed, prompt="a circle")), theirs) < NEAR


def test_nothing_is_left_of_it(diffusion_folder: Path) -> None:
    other = plain(diffusion_folder, prompt="a circle")
    before = one(other)
    operator = controlled(diffusion_folder, ModelEditing(**EDITS)).load()
    family = operator._family  # type: ignore[attr-defined]
    whole = state(family)
    assert operator(pa.table({"prompt": ["a circle"]}))[columns.ERROR].null_count == 1
    assert state(family) == whole
    assert apart(one(other), before) == 0


def test_it_edits_a_model_with_two_text_encoders(sdxl: Path) -> None:
    ours = one(controlled(sdxl, ModelEditing(**EDITS), prompt="a circle"))
    assert apart(ours, one(plain(sdxl, prompt="a circle"))) > FAR


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (("a red circle", "a blue circle"), "must have all words of 'a red circle'"),
        (("a circle", "a " * 40 + "circle"), "is longer than the text encoder's 32 tokens"),
    ],
)
def test_words_that_do_not_go_together_are_told(diffusion_folder: Path, edit: tuple[str, str], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        controlled(diffusion_folder, ModelEditing(edits=[{"source": edit[0], "destination": edit[1]}])).load()


@pytest.mark.parametrize("options", [{}, {"edits": []}, {**EDITS, "lambda": 0}, {"edits": [{"source": "a"}]}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        controlled(Path("a/b"), {"model_editing": options})


def test_a_job_file_says_lambda() -> None:
    [control] = controlled(Path("a/b"), {"model_editing": {**EDITS, "lambda": 0.5}}).controls
    assert isinstance(control, ModelEditing)
    assert control.lambda_ == 0.5
