"""Which controls go together, known before a model is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from operators.controls.base import ControlSpec, Touches

_NO_WHOLE_MAP = "where it is predicted in windows, no attention map is of the whole picture"
_OWN_GUIDANCE = "guidance by passes of its own has no place for another"
_PLAIN = "the step also asks the network without controls, which such a model can't do without"
_TWO_SIDES = "the source's side would be changed with the edit's"

APART: dict[frozenset[Touches], str] = {
    frozenset({Touches.WINDOWS, Touches.MAPS}): _NO_WHOLE_MAP,
    frozenset({Touches.WINDOWS, Touches.GRADIENT}): _NO_WHOLE_MAP,
    frozenset({Touches.GRADIENT}): "each would move the latents away from where the other one moves them",
    frozenset({Touches.OWN_MODEL}): "each needs a model that was made for it",
    frozenset({Touches.TOKENS}): "at which tokens a word is would be another matter for one than for the other",
    frozenset({Touches.CHANNELS}): "a network has room for one kind of channels beside the latents",
    frozenset({Touches.LABELS}): "a network has room for one picture beside the text",
    frozenset({Touches.PLAIN, Touches.CHANNELS}): _PLAIN,
    frozenset({Touches.PLAIN, Touches.LABELS}): _PLAIN,
    frozenset({Touches.PLAIN, Touches.PICTURE_PROMPT}): _PLAIN,
    frozenset({Touches.PICTURE_PROMPT, Touches.GRADIENT}): "there is no text whose attention could be held",
    frozenset({Touches.OTHER_WEIGHTS}): "only one of them can have its weights in the network's place",
    frozenset({Touches.PICTURE_PROMPT, Touches.TEXT}): "there is no text where a picture stands in its place",
    frozenset({Touches.PICTURE_PROMPT}): "only one picture can stand in the place of the text",
    **{
        frozenset({Touches.GUIDANCE, other}): _OWN_GUIDANCE
        for other in (Touches.PASSES, Touches.MAPS, Touches.GRADIENT, Touches.WINDOWS)
    },
    **{
        frozenset({Touches.TWO_SIDES, other}): _TWO_SIDES
        for other in Touches
        if other not in (Touches.TEXT, Touches.TOKENS, Touches.WEIGHTS, Touches.OTHER_WEIGHTS)
    },
}
"""What can't be worked on twice, or not beside what, and why not."""


def refusal(one: frozenset[Touches], other: frozenset[Touches]) -> str | None:
    """Why two that work on such parts of the loop don't go together; None if they do."""
    pairs = (frozenset({a, b}) for a in sorted(one) for b in sorted(other))
    return next((APART[pair] for pair in pairs if pair in APART), None)


def check_together(controls: Iterable[ControlSpec], own: frozenset[Touches], name: str) -> None:
    """Refuse controls that don't go together, or not with the step that they are of.

    Args:
        controls: in their order.
        own: what the step itself works on.
        name: of the step.

    Raises:
        ValueError: with the reason.
    """
    listed = list(controls)
    for control in listed:
        if reason := refusal(control.touches, own):
            raise ValueError(f"{control.kind} can't be a control of {name}: {reason}")
    for one, other in combinations(listed, 2):
        if one.kind == other.kind and not one.repeatable:
            raise ValueError(f"{one.kind} is among the controls twice")
        reason = None if one.kind == other.kind else refusal(one.touches, other.touches)
        if reason:
            raise ValueError(f"{one.kind} and {other.kind} don't go together: {reason}")
