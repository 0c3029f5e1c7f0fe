"""The events of one run, in OpenLineage's JSON."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.serde import Serde

from jobs.openlineage import facets
from jobs.openlineage.facets import PRODUCER
from jobs.openlineage.lineage import column_lineage, row_options
from jobs.openlineage.naming import DatasetName
from jobs.plan import Plan
from jobs.sink.ledger import Epoch, Mode, Start

Event = dict[str, Any]

ENDS = frozenset(state.value for state in (RunState.COMPLETE, RunState.FAIL, RunState.ABORT))
"""What an event of the end of a run may be."""

_RUNS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:latentmill:run")


def run_uuid(run_id: str) -> str:
    """The UUID that OpenLineage knows a run by: always the same for the same run."""
    return str(uuid.uuid5(_RUNS, run_id))


@dataclass(frozen=True)
class Events:
    """Makes a run's events.

    START and the end tell all that is known of job and datasets; what comes between, the figures alone.
    """

    plan: Plan
    start: Start
    epoch: Epoch
    before: Event | None
    """An event of the run before this one on the same sink."""

    def event(self, state: RunState, summary: Mapping[str, Any], error: tuple[str, str] | None = None) -> Event:
        """An event of now.

        Args:
            state: START, RUNNING, or how the run has ended.
            summary: the counts so far, as :meth:`jobs.summary.Summary.as_json` tells them.
            error: code and message, where it has not ended well.
        """
        whole, counted = state is not RunState.RUNNING, state is not RunState.START
        run = {"errorMessage": facets.error(*error)} if error else {}
        figures = {
            "outputStatistics": facets.output_statistics(summary),
            "latentmill_outcomes": facets.outcomes(summary),
        }
        source = InputDataset(
            self._source.namespace,
            self._source.name,
            facets=self._about_source if whole else {},
            inputFacets={"inputStatistics": facets.input_statistics(summary)} if counted else {},
        )
        sink = OutputDataset(
            self._sink.namespace,
            self._sink.name,
            facets=self._about_sink | self._version(summary) if whole else {},
            outputFacets=figures if counted else {},
        )
        told = RunEvent(
            eventType=state,
            eventTime=_now(),
            run=Run(run_uuid(self.epoch.run_id), (self._about_run | self._models(summary) if whole else {}) | run),
            job=Job(self._job["namespace"], self._job["name"], self._about_job if whole else {}),
            inputs=[source],
            outputs=[sink],
            producer=PRODUCER,
        )
        return _as_json(told)

    @property
    def _job(self) -> dict[str, str]:
        return {"namespace": self.plan.job.lineage.namespace, "name": self.plan.job.name}

    @cached_property
    def _source(self) -> DatasetName:
        return DatasetName.of(self.plan.source.uri)

    @cached_property
    def _sink(self) -> DatasetName:
        return DatasetName.of(self.epoch.sink.uri)

    @cached_property
    def _about_job(self) -> dict[str, Any]:
        return {"documentation": facets.documentation(self.plan), "jobType": facets.job_type()}

    @cached_property
    def _about_run(self) -> dict[str, Any]:
        ours = facets.LatentmillRunFacet(
            self.epoch.run_id, self.epoch.number, str(self.start.mode), self.start.fingerprint, producer=PRODUCER
        )
        told = {"processing_engine": facets.engine(), "latentmill_run": ours}
        if self.before is None:
            return told
        return told | {"jobDependencies": facets.goes_on_from(self.before["job"], self.before["run"]["runId"])}

    def _models(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        return {"latentmill_models": facets.models(self.plan, summary["weights"])}

    def _version(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        return {} if summary["snapshot"] is None else {"version": facets.version(summary["snapshot"])}

    @cached_property
    def _about_source(self) -> dict[str, Any]:
        schema = facets.schema(self.plan.source.schema, row_options(self.plan).projection() or {})
        return {"schema": schema, "dataSource": facets.data_source(self._source)}

    @cached_property
    def _about_sink(self) -> dict[str, Any]:
        about = {
            "schema": facets.schema(self.plan.output, {}),
            "dataSource": facets.data_source(self._sink),
            "columnLineage": facets.column_lineage(column_lineage(self.plan), self._source),
        }
        return about | ({"lifecycleStateChange": facets.overwritten()} if self.start.mode is Mode.OVERWRITE else {})


def abort(first: Event, by: str) -> Event:
    """The end of a run that could not tell of it, made from its first event by the run that found it dead."""
    message = f"the run ended without a word, as when it is killed; run {by} found it so"
    told = RunEvent(
        eventType=RunState.ABORT,
        eventTime=_now(),
        run=Run(first["run"]["runId"], {"errorMessage": facets.error("killed", message)}),
        job=Job(first["job"]["namespace"], first["job"]["name"]),
        inputs=[InputDataset(one["namespace"], one["name"]) for one in first.get("inputs", [])],
        outputs=[OutputDataset(one["namespace"], one["name"]) for one in first.get("outputs", [])],
        producer=PRODUCER,
    )
    return _as_json(told)


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _as_json(event: RunEvent) -> Event:
    told: Event = json.loads(Serde.to_json(event))
    return told
