"""A loaded pipeline: batches where they are right, row by row where they are not."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import pyarrow as pa
import torch

from operators.base import Operator, Produced, values
from operators.diffusion.noise import row_generators
from operators.errors import ModelError, RowError
from operators.marks.kept import kept
from operators.marks.marker import Marker, asked_for
from operators.marks.metadata import Metadata
from operators.marks.xmp import SourceType
from operators.models.loading import pick_device, pick_dtype
from operators.pipeline.arguments import Arguments, Picture, Row
from operators.pipeline.audio import sample_rate_of
from operators.pipeline.loading import load_pipeline, pipeline_class
from operators.pipeline.outputs import Array, per_row, unsound, written
from operators.pipeline.probe import batches_are_right
from operators.pipeline.randomness import global_seed
from operators.pipeline.signature import mistakes, parameters_of
from operators.pipeline.spec import Pipeline, Product

_SUPPLIED = ("generator", "batch_size", "output_type", "return_dict")


class PipelineOperator(Operator[Pipeline, Row]):
    """A loaded pipeline.

    Attributes:
        batchable: whether batches were found to be right, by what the rows that were tried have in common.

    Raises:
        ModelError: the model can't be had, diffusers has no such pipeline, or it takes other arguments.
    """

    def __init__(
        self, spec: Pipeline, step: str | None = None, batch_rows: int = 16, device: str | None = None
    ) -> None:
        super().__init__(spec, step, batch_rows)
        self._files = spec.files()
        kind = pipeline_class(self._files, spec.class_)
        parameters = parameters_of(kind.__call__)
        for mistake in mistakes(parameters, spec.arguments, _SUPPLIED):
            raise self._files.refuse(f"is run by {kind.__name__}, which {mistake}")
        if spec.produces is Product.LATENTS and "output_type" not in parameters:
            raise self._files.refuse(f"is run by {kind.__name__}, which can't give latents")
        if spec.produces is Product.VIDEO and find_spec("av") is None:
            raise ModelError("video needs another package: pip install 'latentmill[video]'", "pipeline.produces")
        self._device = pick_device(device)
        dtype = pick_dtype(self._device, spec.precision)
        self._pipeline: Any = load_pipeline(self._files, kind, self._device, dtype)
        self._arguments = Arguments(spec, parameters, self._device, dtype)
        self._output_type = {"output_type": self._asked_for()} if "output_type" in parameters else {}
        self._sample_rate = self._found_sample_rate() if spec.produces is Product.AUDIO else 0
        self._marker = Marker(spec.marks, spec.model, self._files.digest)
        self._exact = self._device.type == "cpu" and dtype == torch.float32
        self.batchable: dict[Hashable, bool] = {}

    def digests(self) -> dict[str, str]:
        """SHA-256 of the weights of all the model's networks."""
        return {str(self.spec.model): self._files.digest}

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Row | RowError]:
        """Read every row's values, and see that its pictures are sound."""
        return self._arguments.rows(table, self._seeds(table, seeds), self.batch_rows)

    def group(self, prepared: Row) -> Hashable:
        """Rows with the same single values, and pictures and tensors of the same sizes."""
        return self._arguments.group(prepared)

    def run(self, batch: list[Row]) -> Produced:
        """Run a batch of rows of one group."""
        arrays = self.outputs(batch)
        made = written(arrays, self.spec, self._sample_rate, self._metadata(batch))
        return Produced({self.spec.column: made}, unsound(arrays))

    def outputs(self, batch: Sequence[Row]) -> list[Array]:
        """What comes out for rows of one group, at once or one by one, as :func:`per_row` gives it."""
        rows = [row.decoded() for row in batch]
        if len(rows) == 1 or self._batchable(rows[0]):
            return self._called(rows)
        return [self._called([row])[0] for row in rows]

    def _metadata(self, batch: Sequence[Row]) -> list[Metadata]:
        """Marks of pictures; a row that gives a picture as ``image`` has it edited."""
        given = [self.spec.arguments | row.values for row in batch]
        told = [[each.get(name) for name in ("prompt", "negative_prompt")] for each in given]
        prompts = [asked_for(*[text if isinstance(text, str) else "" for text in texts]) for texts in told]
        pictures = [each.get("image") for each in given]
        sources = [kept(one.encoded["bytes"]) if isinstance(one, Picture) else None for one in pictures]
        made = SourceType.EDITED if any(sources) else SourceType.GENERATED
        return self._marker(made, prompts, sources)

    def _batchable(self, row: Row) -> bool:
        regime = self._arguments.regime(row)
        if regime not in self.batchable:
            rows = (row, self._arguments.altered(row))
            short = partial(self._called, shorten=self._arguments.few_steps)
            self.batchable[regime] = batches_are_right(short, self._called, rows, self._exact)
        return self.batchable[regime]

    def _called(
        self, rows: Sequence[Row], shorten: Callable[[dict[str, Any]], dict[str, int]] | None = None
    ) -> list[Array]:
        given = self._arguments.call(rows, row_generators(row.seed for row in rows))
        given |= self._output_type | (shorten(given) if shorten else {})
        devices = [self._device] if self._device.type == "cuda" else []
        # Where rows of a batch would share what is drawn without a generator, the probe finds out.
        with torch.no_grad(), global_seed(rows[0].seed, devices):
            return per_row(self._pipeline(**given), self.spec.produces, len(rows))

    def _seeds(self, table: pa.Table, drawn: list[int]) -> list[int | None]:
        if self.spec.seed is None:
            return list(drawn)
        count = self.spec.outputs_per_row
        asked = values(self.spec.seed, table)
        return [None if seed is None else seed + row % count for row, seed in enumerate(asked)]

    def _asked_for(self) -> str:
        if self.spec.produces is Product.LATENTS:
            return "latent"
        # Some pipelines put their watermark on finished pictures alone.
        return "pil" if getattr(self._pipeline, "watermarker", None) is not None else "np"

    def _found_sample_rate(self) -> int:
        found = self.spec.sample_rate or sample_rate_of(self._pipeline)
        if found is None:
            raise self._files.refuse("doesn't tell how fast its audio goes; say it with `sample_rate`")
        return found
