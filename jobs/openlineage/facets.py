"""Facets of events: OpenLineage's own, filled in, and three that it lacks.

The schema of those three is docs/openlineage-facets.json; their keys are written as OpenLineage writes keys.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import attr
import pyarrow as pa
import ray
from openlineage.client import facet_v2 as facets
from openlineage.client.facet_v2 import OutputDatasetFacet, RunFacet
from openlineage.client.generated.column_lineage_dataset import Fields, InputField, Transformation
from openlineage.client.generated.schema_dataset import SchemaDatasetFacetFields

from jobs.openlineage.lineage import ColumnLineage, Origin
from jobs.openlineage.naming import DatasetName
from jobs.plan import Plan
from operators import columns

VERSION = importlib.metadata.version("latentmill")
PRODUCER = f"urn:latentmill:{VERSION}"
SCHEMAS = "urn:latentmill:facets:1-0-0#/$defs/"
"""What the URLs of our own facets' schemas begin with."""


@attr.define
class LatentmillRunFacet(RunFacet):
    """The run by Latentmill's names for it: what one looks it up by in its sink."""

    runId: str  # noqa: N815
    epoch: int
    mode: str
    planFingerprint: str  # noqa: N815

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMAS}LatentmillRunFacet"


@attr.define
class ModelsRunFacet(RunFacet):
    """The models of every step; ``digest`` is SHA-256 of the weights, once an actor has loaded them."""

    models: list[dict[str, str | None]]

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMAS}ModelsRunFacet"


@attr.define
class OutcomesOutputDatasetFacet(OutputDatasetFacet):
    """What became of rows so far: source rows read, rows written, dropped by filters, rejected by code."""

    rowsIn: int  # noqa: N815
    rowsOut: int  # noqa: N815
    filtered: int
    rejected: dict[str, int]

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMAS}OutcomesOutputDatasetFacet"


def documentation(plan: Plan) -> Any:
    """What the job does, in a line."""
    steps = ", ".join(plan.job.step_names) or "a copy"
    return facets.documentation_job.DocumentationJobFacet(f"{plan.source.uri} -> {steps}", producer=PRODUCER)


def job_type() -> Any:
    """A batch job of ours."""
    return facets.job_type_job.JobTypeJobFacet("BATCH", "LATENTMILL", "JOB", producer=PRODUCER)


def engine() -> Any:
    """What the steps run on."""
    return facets.processing_engine_run.ProcessingEngineRunFacet(ray.__version__, "Ray", VERSION, producer=PRODUCER)


def models(plan: Plan, digests: Mapping[str, str]) -> ModelsRunFacet:
    """Every step's models."""
    used = [(step.name, model) for step in plan.steps for model in step.spec.models()]
    told = [{"step": step, "name": str(model), "digest": digests.get(str(model))} for step, model in used]
    return ModelsRunFacet([{key: value for key, value in each.items() if value} for each in told], producer=PRODUCER)


def error(code: str, message: str) -> Any:
    """Why a run ended, with the code of docs/errors.md before the message and by itself."""
    plain = facets.error_message_run.ErrorMessageRunFacet(f"{code}: {message}", "python", producer=PRODUCER)
    return plain.with_additional_properties(code=code)


def goes_on_from(job: Mapping[str, str], run_uuid: str) -> Any:
    """The run before this one on the same sink, which had to end first.

    It is no parent: it started nothing, and a job that is its own parent is a circle to those who draw it.
    """
    before = facets.job_dependencies_run
    upstream = before.JobDependency(
        before.JobIdentifier(job["namespace"], job["name"]),
        before.RunIdentifier(run_uuid),
        "IMPLICIT_DEPENDENCY",
        "FINISH_TO_START",
        "EXECUTE_EVERY_TIME",
    )
    return before.JobDependenciesRunFacet([upstream], producer=PRODUCER)


def data_source(name: DatasetName) -> Any:
    """Where a dataset is."""
    return facets.datasource_dataset.DatasourceDatasetFacet(name.namespace, name.uri, producer=PRODUCER)


def schema(given: pa.Schema, renamed: Mapping[str, str]) -> Any:
    """Columns and their types; of those in ``renamed`` the names that they have in the dataset."""
    fields = [_field(field.with_name(renamed.get(field.name, field.name))) for field in given]
    return facets.schema_dataset.SchemaDatasetFacet(fields, producer=PRODUCER)


def column_lineage(found: ColumnLineage, source: DatasetName) -> Any:
    """Columns of the source that each column comes from, and those that decide about rows."""
    fields = {name: Fields(_inputs(origin, source, "DIRECT")) for name, origin in found.columns.items()}
    rows = _inputs(found.rows, source, "INDIRECT")
    return facets.column_lineage_dataset.ColumnLineageDatasetFacet(fields, rows, producer=PRODUCER)


def input_statistics(summary: Mapping[str, Any]) -> Any:
    """Source rows so far."""
    return facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
        rowCount=summary["rows_in"], producer=PRODUCER
    )


def output_statistics(summary: Mapping[str, Any]) -> Any:
    """Rows, bytes and files that this run has written so far."""
    return facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        summary["rows_out"], summary["bytes_out"], summary["files_out"], producer=PRODUCER
    )


def outcomes(summary: Mapping[str, Any]) -> OutcomesOutputDatasetFacet:
    """What became of rows so far."""
    told = (summary[key] for key in ("rows_in", "rows_out", "filtered", "rejected"))
    return OutcomesOutputDatasetFacet(*told, producer=PRODUCER)


def overwritten() -> Any:
    """All rows were made anew."""
    change = facets.lifecycle_state_change_dataset
    return change.LifecycleStateChangeDatasetFacet(change.LifecycleStateChange.OVERWRITE, producer=PRODUCER)


def version(number: int) -> Any:
    """The snapshot that holds what the run did."""
    return facets.dataset_version_dataset.DatasetVersionDatasetFacet(str(number), producer=PRODUCER)


def _field(field: pa.Field) -> SchemaDatasetFacetFields:
    if not pa.types.is_struct(field.type):
        return SchemaDatasetFacetFields(field.name, str(field.type))
    feature = columns.feature(field)
    about = f"an encoded file, the Hugging Face feature {feature}" if feature else None
    return SchemaDatasetFacetFields(field.name, "struct", about, fields=[_field(below) for below in field.type])


def _inputs(origin: Origin, source: DatasetName, kind: str) -> list[InputField]:
    return [
        InputField(source.namespace, source.name, column, [_transformation(kind, way)])
        for column, way in origin.items()
    ]


def _transformation(kind: str, way: tuple[str, ...]) -> Transformation:
    taken = "TRANSFORMATION" if way else "IDENTITY"
    return Transformation(kind, "FILTER" if kind == "INDIRECT" else taken, ", ".join(way) or None)
