"""The record of a run beside its rows: the resolved job, what it ran with, and what came out."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from datetime import UTC, datetime
from typing import Any

from jobs.ledger import RUNS, Epoch
from jobs.plan import Plan
from jobs.report import Summary

_PACKAGES = ("latentmill", "diffusers", "pillow", "pyarrow", "ray", "safetensors", "torch", "transformers")


def begin(epoch: Epoch, plan: Plan, resources: list[dict[str, Any]]) -> dict[str, Any]:
    """Write what is known before the first row; the run counts as unfinished until :func:`finish`."""
    record = {
        "run_id": epoch.run_id,
        "epoch": epoch.number,
        "state": "running",
        "started": datetime.now(UTC).isoformat(),
        "fingerprint": plan.fingerprint,
        "job": plan.resolved(),
        "resources": resources,
        "packages": {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()},
    }
    _write(epoch, record)
    return record


def finish(epoch: Epoch, record: dict[str, Any], summary: Summary, state: str) -> None:
    """Write the whole record, with counts, timings and the digest of every model's weights."""
    _write(epoch, record | {"state": state, "ended": datetime.now(UTC).isoformat(), "summary": summary.as_json()})


def _write(epoch: Epoch, record: dict[str, Any]) -> None:
    epoch.store.put(f"{RUNS}/{epoch.run_id}/run.json", json.dumps(record, indent=1).encode())


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
