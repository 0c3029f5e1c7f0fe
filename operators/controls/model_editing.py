"""Model editing: change what a model takes for granted (TIME, Orgad et al. 2023)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from operators.controls.base import Control, ControlSpec, Touches

if TYPE_CHECKING:
    from operators.diffusion.denoising import Denoising
    from operators.diffusion.family import StableDiffusion


class Assumption(BaseModel):
    """What a text shall be taken for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Annotated[str, Field(min_length=1)] = Field(description="what is said, as in `a pack of roses`")
    destination: Annotated[str, Field(min_length=1)] = Field(
        description="what it shall mean, the same words and further ones, as in `a pack of blue roses`"
    )


class ModelEditing(ControlSpec):
    """Have the network take what is said for what it shall mean, in all prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kind: ClassVar[str] = "model_editing"
    touches: ClassVar[frozenset[Touches]] = frozenset({Touches.WEIGHTS, Touches.OTHER_WEIGHTS, Touches.TEXT})

    edits: Annotated[tuple[Assumption, ...], Field(min_length=1)] = Field(description="what to take for what")
    lambda_: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        0.1, alias="lambda", description="how much the weights are held to what they are; less edits more"
    )
    keys: bool = Field(True, description="edit the projections to keys too, and not those to values alone")
    augment: bool = Field(True, description="edit photos, images and pictures of the same too")

    def load(self, family: StableDiffusion, allow_pickle: bool) -> EditedModel:  # noqa: ARG002
        """Compute the edited weights."""
        return EditedModel(self, family)


class EditedModel(Control[ModelEditing, dict[str, Any]]):
    """Loaded model editing.

    Raises:
        ModelError: the words of an edit don't go together.
    """

    def __init__(self, spec: ModelEditing, family: StableDiffusion) -> None:
        from operators.diffusion.time_editing import edited_weights

        super().__init__(spec, family)
        edits = [(edit.source, edit.destination) for edit in spec.edits]
        self._weights = edited_weights(family, edits, spec.lambda_, spec.keys, spec.augment)

    def installed(self, asked: dict[str, Any]) -> AbstractContextManager[None]:  # noqa: ARG002
        """The network with the edited weights."""
        from operators.diffusion.weights import swapped

        return swapped(self._weights)

    def join(self, denoising: Denoising, asked: list[dict[str, Any]]) -> None:
        """There is nothing to add to a batch but the weights."""
