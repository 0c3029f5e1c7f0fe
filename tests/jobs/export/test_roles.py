"""Where presets find their columns, in jobs of all kinds; nothing is run."""

from __future__ import annotations

import pyarrow as pa
import pytest

from jobs import Job
from jobs.export.instruction import Instruction, with_article
from jobs.export.marking import marking
from jobs.export.options import Options
from jobs.export.steps import Steps
from jobs.export.table import Mapped
from jobs.export.values import Branched, Held, Said
from operators import columns
from operators.errors import SinkError

PHOTOS = pa.table({"image": pa.nulls(1, columns.IMAGE), "caption_en": ["a cat"], "word": ["cat"], "to_word": ["dog"]})
CAPTION, TO_DOG = "caption", {"method": "img2img", "from": "cat", "to": "dog"}


def mapped(steps, preset="instruct_pix2pix", source=PHOTOS, extra=None, **options):
    plan = Job(source=source, steps=steps, sink="unused").plan()
    schema = plan.output if extra is None else pa.schema([*plan.output, *extra])
    found = Mapped.of({"job": plan.resolved()}, schema, Options(preset=preset, lineage=False, **options), "sink")
    return dict(found.values)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([CAPTION, {"edit": TO_DOG}], ("caption", "image", "edited_image_prompt", "edited_image")),
        (
            [{"edit": TO_DOG | {"prompt": {"column": "caption_en"}}}, {"caption": {"image": "edited_image"}}],
            ("caption_en", "image", "edited_image_prompt", "edited_image"),
        ),
        (
            [
                CAPTION,
                {"edit": TO_DOG},
                {"edit": TO_DOG | {"image": "edited_image", "from": "dog", "output": "second"}},
            ],
            ("caption", "edited_image", "second_prompt", "second"),
        ),
        (
            [
                {
                    "edit": {
                        "method": "pix2pix_zero",
                        "start": "noise",
                        "prompt": {"column": "caption_en"},
                        "from": "a",
                        "to": "b",
                    }
                }
            ],
            ("caption_en", "edited_image_source", "edited_image_prompt", "edited_image"),
        ),
    ],
)
def test_an_edits_pictures_and_texts_are_found(steps, expected):
    found = mapped(steps)
    assert isinstance(found["edit_prompt"], Instruction)
    held = [found[name] for name in ("original_prompt", "original_image", "edited_prompt", "edited_image")]
    assert held == [Held(name) for name in expected]


def test_a_constant_prompt_is_the_text_of_every_row():
    assert mapped([{"edit": TO_DOG | {"prompt": "a cat"}}])["original_prompt"] == Said("a cat")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"from": "cat", "to": ["dog", "grey wolf"]},
            ["turn the cat into a dog", "turn the cat into a grey wolf", None],
        ),
        ({"from": {"column": "word"}, "to": {"column": "to_word"}}, ["turn the fox into an owl"] * 3),
        ({"from": {"word": "a cat", "sentences": ["x"]}, "to": "two dogs"}, ["turn the cat into two dogs"] * 3),
    ],
)
def test_instructions_are_made_of_what_was_changed_into_what(given, expected):
    value = mapped([CAPTION, {"edit": TO_DOG | given}])["edit_prompt"]
    rows = {
        "row_id": ["i/edit.dog", "i/edit.grey-wolf/generate.1", "i"],
        "source_id": ["i", "i", "i"],
        "word": ["fox"] * 3,
        "to_word": ["owl"] * 3,
        "edited_image_prompt": ["a picture"] * 3,
    }
    assert value.of(pa.RecordBatch.from_pydict(rows)).to_pylist() == expected


def test_an_instruction_that_there_is_goes_before_one_that_is_made():
    source = PHOTOS.append_column("edit_prompt", pa.array(["make it a dog"]))
    assert mapped([CAPTION, {"edit": TO_DOG}], source=source)["edit_prompt"] == Held("edit_prompt")
    told = {"method": "instruct", "model": "builtin:stable-diffusion", "target_prompt": {"column": "caption_en"}}
    found = mapped([CAPTION, {"edit": told}, {"caption": {"image": "edited_image", "output": "after"}}])
    assert [value.column for value in found.values()] == [
        *("caption", "image", "edited_image_prompt", "after", "edited_image")
    ]
    made = mapped([CAPTION, {"edit": TO_DOG}], source=source, instruction="{edited_prompt}, not {from}")["edit_prompt"]
    row = pa.RecordBatch.from_pydict({"edited_image_prompt": ["a dog"], "caption": ["a cat"]})
    assert made.of(row).to_pylist() == ["a dog, not cat"]


def test_what_only_a_template_can_tell_is_asked_for():
    edit = {"edit": {"method": "img2img", "target_prompt": {"column": "word"}}}
    with pytest.raises(SinkError, match=r"no column for 'edit_prompt' \(what to do, in words\)"):
        mapped([edit], "diffusers")
    assert isinstance(mapped([edit], "diffusers", instruction="show {edited_prompt}")["edit_prompt"], Instruction)
    with pytest.raises(ValueError, match=r"an instruction needs one of \{from\}, \{to\}"):
        Options(preset="diffusers", instruction="do {something}")


@pytest.mark.parametrize(
    ("word", "prompt", "expected"),
    [
        ("square", "a red square on a blue background", "a square"),
        ("owl", "a photo of an owl", "an owl"),
        ("snow", "a field in snow", "snow"),
        ("the moon", "night", "the moon"),
        ("ellipse", "", "an ellipse"),
        ("dogs", "two dogs on grass", "dogs"),
    ],
)
def test_a_word_has_the_article_that_its_prompt_gives_it(word, prompt, expected):
    assert with_article(word, prompt) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([CAPTION], ("image", "caption")),
        ([{"generate": {"prompt": {"column": "caption_en"}}}], ("generated_image", "caption_en")),
        (
            [{"generate": {"prompt": {"column": "word"}}}, {"caption": {"image": "generated_image"}}],
            ("generated_image", "caption"),
        ),
        ([CAPTION, {"edit": TO_DOG}], ("edited_image", "edited_image_prompt")),
        (
            [{"pipeline": {"model": "a/b", "arguments": {"prompt": {"column": "word"}}, "output": "made"}}],
            ("made", "word"),
        ),
        ([], ("image", "text")),
    ],
)
def test_a_picture_goes_with_its_own_text(steps, expected):
    source = PHOTOS if steps else PHOTOS.append_column("text", pa.array(["a cat"]))
    found = mapped(steps, "text_to_image", source=source)
    assert [found["image"], found["text"]] == [Held(name) for name in expected]


def test_masks_conditions_turns_and_scores_are_found():
    source = PHOTOS.append_column("mask", pa.nulls(1, columns.IMAGE))
    inpainted = {"edit": TO_DOG | {"method": "inpaint"}}
    found = mapped([CAPTION, inpainted], "magicbrush", source=source)
    assert (found["mask_img"], found["turn_index"]) == (Held("mask"), Said(1))
    again = {
        "edit": {
            "method": "diffedit",
            "start": "picture",
            "image": "edited_image",
            "prompt": {"column": "edited_image_prompt"},
        }
    }
    again["edit"] |= {"from": "dog", "to": "fox", "output": "second"}
    found = mapped([CAPTION, inpainted, again], "magicbrush", source=source)
    assert (found["mask_img"], found["turn_index"]) == (Held("second_mask"), Said(2))
    steered = [
        CAPTION,
        {"condition": {"method": "canny", "output": "lines"}},
        {"generate": {"prompt": {"column": "caption"}}},
    ]
    found = mapped(steered, "controlnet")
    assert list(found.values()) == [Held("generated_image"), Held("caption"), Held("lines")]
    control = {"controlnet": {"model": "builtin:controlnet", "image": "image"}}
    found = mapped([{"generate": {"prompt": {"column": "word"}, "controls": [control]}}], "controlnet")
    assert found["conditioning_image"] == Held("image")
    found = mapped([CAPTION, {"edit": TO_DOG}], "ultraedit", extra=[pa.field("clip_direction", pa.float32())])
    assert found["clip_sim_dir"] == Held("clip_direction")
    assert "clip_sim_image" not in found


def test_a_picture_that_was_marked_is_the_one_that_is_published():
    plan = Job(source=PHOTOS, steps=[CAPTION, {"edit": TO_DOG}], sink="unused").plan()
    record = {"job": plan.resolved()}
    marks = {"image": "edited_image", "output": "signed", "certificate": "/keys/chain.pem", "watermark": "made"}
    record["job"]["steps"].append({"mark": marks})
    schema = plan.output.append(pa.field("signed", columns.IMAGE))
    for preset, name in (("diffusers", "edited_image"), ("text_to_image", "image")):
        found = Mapped.of(record, schema, Options(preset=preset, lineage=False), "sink")
        assert found.values[name] == Held("signed")
    told = marking(Steps.of(record, schema).all)
    assert (
        "- `mark`: pictures in `signed` carry XMP, a watermark in the pixels, signed Content Credentials (C2PA)" in told
    )


def test_a_picture_that_was_blurred_is_published_blurred():
    before = {"safety": {"action": "blur"}}
    after = {"safety": {"action": "blur", "image": "edited_image", "output": "unsafe"}}
    found = mapped([CAPTION, before, {"edit": TO_DOG}, after], "diffusers")
    assert (found["input_image"], found["edited_image"]) == (Held("nsfw_blurred"), Held("unsafe_blurred"))
    assert mapped([CAPTION, {"safety": {}}], "text_to_image")["image"] == Held("image")


def test_a_step_that_is_not_known_is_passed_by():
    plan = Job(source=PHOTOS, steps=[CAPTION, {"edit": TO_DOG}], sink="unused").plan()
    record = {"job": plan.resolved()}
    record["job"]["steps"].insert(0, {"something_new": {"model": "a/b"}})
    found = Mapped.of(record, plan.output, Options(preset="diffusers", lineage=False), "sink")
    assert found.values["edited_image"] == Held("edited_image")


def test_a_score_is_found_behind_the_prefix_of_its_step():
    plan = Job(source=PHOTOS, steps=[CAPTION, {"edit": TO_DOG}], sink="unused").plan()
    record = {"job": plan.resolved()}
    record["job"]["steps"].append({"score": {"metrics": ["clip_image"], "prefix": "late_"}})
    schema = pa.schema([*plan.output, *(pa.field(name, pa.float32()) for name in ("clip_image", "late_clip_image"))])
    found = Mapped.of(record, schema, Options(preset="ultraedit", lineage=False), "sink")
    assert found.values["clip_sim_image"] == Held("late_clip_image")


def test_a_branch_is_told_by_the_end_of_the_id_alone():
    rows = {"row_id": ["a/edit.cat/edit.dog"], "source_id": ["a/edit.cat"]}
    assert Branched("edit", {"cat": "cat", "dog": "dog"}).of(pa.RecordBatch.from_pydict(rows)).to_pylist() == ["dog"]
