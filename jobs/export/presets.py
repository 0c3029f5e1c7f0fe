"""The columns of datasets that trainers know, and what each of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.export import roles
from jobs.export.roles import Find


@dataclass(frozen=True)
class Role:
    """What a column is to hold."""

    find: Find
    about: str
    optional: bool = False
    """Whether the dataset goes without it where a sink hasn't got it."""


@dataclass(frozen=True)
class Columns:
    """A dataset's columns, in their order, and what such a dataset is for."""

    roles: Mapping[str, Role]
    tasks: tuple[str, ...] = ()
    """Task categories of the Hugging Face hub."""


_EDITING = ("image-to-image",)

_BEFORE = Role(roles.original_picture, "the picture before the edit")
_AFTER = Role(roles.edited_picture, "the picture after the edit")
_SHOWN = Role(roles.original_text, "what the picture shows before the edit")
_TARGET = Role(roles.edited_text, "what the picture shows after the edit")
_MASK = Role(roles.mask, "where the picture may have changed, white on black")
_PICTURE = Role(roles.picture, "the picture")
_TEXT = Role(roles.text, "what the picture shows")
_CONDITION = Role(roles.condition, "the picture that steers, such as edges, depth or a pose")
_TURN = Role(roles.turn, "how many edits the picture has behind it, from 1")


def preset(name: str, instruction: str | None) -> Columns:
    """The columns of a preset.

    Args:
        name: of the preset.
        instruction: what to make instructions of; found in a column, or made in the usual words, if None.
    """
    tell = Role(roles.instruction(instruction), "what to do, in words")
    return {
        "instruct_pix2pix": Columns(
            {
                "original_prompt": _SHOWN,
                "original_image": _BEFORE,
                "edit_prompt": tell,
                "edited_prompt": _TARGET,
                "edited_image": _AFTER,
            },
            _EDITING,
        ),
        "diffusers": Columns({"input_image": _BEFORE, "edit_prompt": tell, "edited_image": _AFTER}, _EDITING),
        "ultraedit": Columns(
            {
                "source_image": _BEFORE,
                "edited_image": _AFTER,
                "source_caption": _SHOWN,
                "target_caption": _TARGET,
                "edit_prompt": tell,
                "clip_sim_source": _score("clip_source", "CLIP similarity of the picture before and its caption"),
                "clip_sim_target": _score("clip_target", "CLIP similarity of the picture after and its caption"),
                "clip_sim_dir": _score("clip_direction", "CLIP similarity of the two changes, in picture and caption"),
                "clip_sim_image": _score("clip_image", "CLIP similarity of the two pictures"),
                "dinov2_sim": _score("dinov2_sim", "DINOv2 similarity of the two pictures"),
                "ssim": _score("ssim", "structural similarity of the two pictures"),
            },
            _EDITING,
        ),
        "magicbrush": Columns(
            {
                "source_img": _BEFORE,
                "mask_img": _MASK,
                "target_img": _AFTER,
                "instruction": tell,
                "turn_index": _TURN,
            },
            _EDITING,
        ),
        "text_to_image": Columns({"image": _PICTURE, "text": _TEXT}, ("text-to-image",)),
        "controlnet": Columns(
            {"image": _PICTURE, "text": _TEXT, "conditioning_image": _CONDITION}, ("text-to-image", "image-to-image")
        ),
        "columns": Columns({}),
    }[name]


def _score(name: str, about: str) -> Role:
    return Role(roles.score(name), about, optional=True)
