"""All that a page tells of a sink, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.reporting.cost import accelerator_hours, cost
from jobs.reporting.histograms import histograms
from jobs.reporting.left_out import filtered, rejected
from jobs.reporting.roles import Roles
from jobs.reporting.sampling import Sample, sample
from jobs.reporting.thumbnails import Thumbnails
from jobs.secrecy import redacted
from jobs.sink.rows import SinkRows
from jobs.sink.tally import Tally, tally
from jobs.status import Status, look, told
from jobs.stores.store import Store
from operators import columns

ROWS = 300
MOST_ROWS = 2000

_PICTURES, _PICTURES_LEFT_OUT = 5_000_000, 800_000
"""Bytes of the page: of accepted rows, and of the others."""
_TEXTS = 1_200_000
_TEXT = 600
_PARTS = 2000
"""Of so many parts all outcomes are counted."""
_RUNS = 20


def report(sink: Store, rows: int = ROWS, price_per_hour: float | None = None) -> dict[str, Any]:
    """Look at a sink: figures, and a sample of its rows with thumbnails.

    Args:
        sink: where a job writes, or wrote.
        rows: to show; at most :data:`MOST_ROWS`.
        price_per_hour: of an accelerator, as :class:`jobs.reporting.cost.Cost` defines it.

    Raises:
        SinkError: no job has written here, or it can't be read.
    """
    found, status = SinkRows.of(sink), look(sink)
    records = list(found.runs.values())
    became = _counted(found, records)
    record: dict[str, Any] = records[-1] if records else {"job": {"steps": ()}}
    roles = Roles.of(found.schema, record["job"]["steps"], record.get("source_columns", ()))
    chosen = sample(found, rows)
    pictures = Thumbnails(_PICTURES, len(chosen.ids) * len(roles.pictures))
    shown = _rows(chosen.batches(found, roles.needed), roles, pictures, len(chosen.ids))
    others = Thumbnails(_PICTURES_LEFT_OUT, 96)
    left_out = {"rejected": rejected(found, others), "filtered": filtered(found, others), "pictures": others.encoded}
    paid = None if price_per_hour is None else cost(records, price_per_hour, became.accepted)
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "sink": redacted(sink.uri),
        "format": found.format,
        "status": _status(status, became, found),
        "sample": _sampled(chosen, became),
        "roles": {**vars(roles), "pairs": [vars(pair) for pair in roles.pairs]},
        "rows": sorted(shown, key=lambda row: str(row["id"])),
        "pictures": pictures.encoded,
        "histograms": histograms(found, roles.numbers, chosen.parts).as_json(),
        "left_out": left_out,
        "runs": [_run(record) for record in records[-_RUNS:]],
        "cost": paid and paid.as_json(),
    }


def _counted(rows: SinkRows, records: Sequence[dict[str, Any]]) -> Tally:
    """Counted one by one in a sink of few parts; otherwise as the runs have told."""
    became = told([*records])
    if len(rows.parts) > _PARTS:
        return became
    counted = tally(rows.place, rows.parts)
    # Outcomes tell of source rows of which nothing was left, runs of all rows that were left out.
    counted.filtered = max(counted.filtered, became.filtered)
    return counted


def _status(status: Status, became: Tally, rows: SinkRows) -> dict[str, Any]:
    return {
        "job": status.job or "a job",
        "state": status.state,
        "advice": status.advice,
        "source_rows": status.rows,
        "rows_done": became.rows,
        "accepted": became.accepted,
        "filtered": became.filtered,
        "rejected": dict(became.rejected.most_common()),
        "parts": len(rows.parts),
        "rows_per_second": status.rows_per_second_lately or status.rows_per_second,
        "seconds_left": status.seconds_left,
        "updated": status.updated,
    }


def _sampled(chosen: Sample, became: Tally) -> dict[str, Any]:
    return {
        "rows": len(chosen.ids),
        "of_rows": max(became.accepted, len(chosen.ids)),
        "parts": len(chosen.parts),
        "of_parts": chosen.of_parts,
        "complete": chosen.complete,
    }


def _rows(batches: Iterable[pa.RecordBatch], roles: Roles, pictures: Thumbnails, rows: int) -> list[dict[str, Any]]:
    longest = max(40, min(_TEXT, _TEXTS // max(rows * len(roles.texts), 1)))
    shown: list[dict[str, Any]] = []
    for batch in batches:
        numbers = {name: pictures.add(batch[name].to_pylist()) for name in roles.pictures}
        values = batch.select([*roles.texts, *roles.numbers, *roles.flags, *columns.LINEAGE.names]).to_pylist()
        for at, row in enumerate(values):
            shown.append(
                {
                    "id": row[columns.ROW_ID],
                    "pictures": [numbers[name][at] for name in roles.pictures],
                    "texts": [row[name] and row[name][:longest] for name in roles.texts],
                    "numbers": [_number(row[name]) for name in roles.numbers],
                    "flags": [row[name] for name in roles.flags],
                    "run": row[columns.RUN_ID],
                    "lineage": _lineage(row),
                }
            )
    return shown


def _lineage(row: Mapping[str, Any]) -> dict[str, str]:
    """Where a row comes from; its seed as text, since browsers' numbers have 53 bits."""
    kept = columns.SOURCE_ID, columns.SOURCE_URI, columns.CONTENT_HASH, columns.PLAN, columns.SEED
    return {name: redacted(str(row[name])) for name in kept}


def _number(value: float | None) -> float | None:
    """A number as JSON has it; infinite ones and those that are none are nothing."""
    if value is None or not np.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.6g}")


def _run(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a page tells of a run: what ran, with what, how fast."""
    summary, job = record.get("summary", {}), record.get("job", {})
    names = ("run_id", "mode", "state", "started", "updated", "ended", "fingerprint", "source", "rows", "packages")
    counted = ("rows_in", "rows_out", "filtered", "rejected", "seconds", "working_seconds", "stages", "hosts")
    return {
        **{name: record.get(name) for name in names},
        **{name: summary.get(name) for name in counted},
        "source": redacted(str(record.get("source"))),
        "host": record.get("holder", {}).get("host"),
        "seed": str(job.get("seed")),
        "steps": job.get("steps", []),
        "figures": summary.get("steps", {}),
        "weights": summary.get("weights", {}),
        "revisions": record.get("revisions", {}),
        "machines": summary.get("machines", []),
        "resources": record.get("resources", []),
        "timeline": record.get("timeline"),
        "accelerator_hours": accelerator_hours(record),
    }
