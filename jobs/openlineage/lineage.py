"""From which columns of the source every column of the dataset comes, through all steps."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.plan import Plan
from jobs.sources import Source
from jobs.sources.spec import RowOptions
from operators import columns

Origin = dict[str, tuple[str, ...]]
"""Columns of the source, each with the steps that lead from it; none where it is taken as it is."""

_HASH, _ID = ("content hash",), ("id",)


@dataclass(frozen=True)
class ColumnLineage:
    """Where columns come from, and which columns decide whether a row is there at all."""

    columns: dict[str, Origin]
    rows: Origin


def column_lineage(plan: Plan) -> ColumnLineage:
    """Follow the columns of a plan: what a step writes comes from all that it reads, and the rest passes it by.

    A step that writes no column decides about rows.
    """
    options = row_options(plan)
    renamed = options.projection() or {}
    source = {name: renamed.get(name, name) for name in plan.source.schema.names}
    origins: dict[str, Origin] = {name: {given: ()} for name, given in source.items()}
    rows: Origin = {}
    for step in plan.steps:
        read = _joined([origins[name] for name in step.spec.reads() if name in origins], step.name)
        if not step.spec.writes():
            rows = _joined([rows]) | read
        origins |= dict.fromkeys(step.spec.writes(), read)
    origins[columns.CONTENT_HASH] = dict.fromkeys(source.values(), _HASH)
    if options.id is not None:
        origins |= {name: {options.id: _ID} for name in (columns.SOURCE_ID, columns.ROW_ID, columns.SEED)}
    kept = {name: origins[name] for name in plan.output.names if origins.get(name)}
    return ColumnLineage(kept, rows)


def row_options(plan: Plan) -> RowOptions:
    """What a job takes of its source."""
    source = plan.job.source
    return source.options if isinstance(source, Source) else source


def _joined(origins: list[Origin], *step: str) -> Origin:
    """All columns of some origins, each with all steps on its ways, and one more."""
    names = dict.fromkeys(name for origin in origins for name in origin)
    ways = {name: [way for origin in origins for way in origin.get(name, ())] for name in names}
    return {name: tuple(dict.fromkeys([*way, *step])) for name, way in ways.items()}
