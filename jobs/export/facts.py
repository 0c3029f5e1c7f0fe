"""What is told of a dataset: how it was made, of what, how many rows there are, and what became of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.export.options import Options
from jobs.export.presets import Columns, preset
from jobs.export.splitting import Shard
from jobs.export.steps import Step, Steps
from jobs.export.table import Mapped
from jobs.export.values import Held, Value
from jobs.export.writing import Written
from jobs.secrecy import redacted
from jobs.sink.rows import SinkRows
from jobs.sink.tally import tally
from operators.columns import LINEAGE
from operators.models.ref import ModelRef, Origin


@dataclass(frozen=True)
class Model:
    """Weights that a step used."""

    name: str
    origin: Origin
    revision: str | None
    """The commit of a model from the hub, or the revision that was pinned."""
    digest: str | None
    """SHA-256 of the weights, where a run has noted it."""


@dataclass(frozen=True)
class Facts:
    """What is told of a dataset."""

    options: Options
    schema: pa.Schema
    values: Mapping[str, Value]
    written: Mapping[Shard, Written]
    examples: list[dict[str, Any]]
    record: dict[str, Any]
    """Of the run whose plan the rows are of."""
    steps: tuple[Step, ...]
    weights: dict[str, str]
    source: str
    sink: str
    source_rows: int
    """That have come to an end, whatever that was."""
    accepted: int
    filtered: int
    """Source rows of which a filter left nothing."""
    rejected: Counter[str]

    @property
    def name(self) -> str:
        """The job's name."""
        return str(self.record["job"]["name"])

    @property
    def rows(self) -> dict[str, int]:
        """Rows by split."""
        found = Counter[str]()
        for shard, written in self.written.items():
            found[shard.split] += written.rows
        return dict(found)

    @property
    def columns(self) -> Columns:
        """What the preset says of the columns."""
        return preset(self.options.preset, self.options.instruction)

    @property
    def of_lineage(self) -> list[str]:
        """The columns that lead back to the source."""
        return [name for name in self.schema.names if self.values[name] == Held(name) and name in LINEAGE.names]

    def models(self, step: Step) -> list[Model]:
        """The models of a step."""
        refs = step.spec.models() if step.spec else tuple(_refs(step.options))
        return [self._model(ref) for ref in dict.fromkeys(refs)]

    def _model(self, ref: ModelRef) -> Model:
        commit = self.record.get("revisions", {}).get(str(ref))
        return Model(str(ref), ref.origin, commit or ref.revision, self.weights.get(str(ref)))


def facts(
    sink: SinkRows,
    record: dict[str, Any],
    options: Options,
    mapped: Mapped,
    written: Mapping[Shard, Written],
    examples: list[dict[str, Any]],
) -> Facts:
    """Gather them.

    Args:
        sink: the sink.
        record: of the run whose plan its rows are of.
        options: of the export.
        mapped: the dataset's columns.
        written: what came of each shard.
        examples: some rows, without their pictures.

    Raises:
        SinkError: the sink can't be read.
    """
    told = [run["summary"].get("weights", {}) for run in sink.runs.values()]
    counted, accepted = tally(sink.place, sink.parts), sum(one.rows for one in written.values())
    return Facts(
        options=options,
        schema=mapped.schema,
        values=mapped.values,
        written=written,
        examples=examples,
        record=record,
        steps=Steps.of(record, sink.schema).all,
        weights={model: digest for weights in told for model, digest in weights.items()},
        source=redacted(str(record["source"])),
        sink=redacted(str(record["sink"])),
        source_rows=counted.rows,
        accepted=accepted,
        filtered=max(0, counted.not_rejected - accepted),
        rejected=+counted.rejected,
    )


def _refs(options: Any) -> list[ModelRef]:
    """Models that options name, of a step that this version doesn't know."""
    model = options.get("model") if isinstance(options, dict) else None
    return [ModelRef(model)] if isinstance(model, str) else []
