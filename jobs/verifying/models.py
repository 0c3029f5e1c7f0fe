"""The weights that rows were made with: the same in all runs, and the same as now."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from jobs.spec import Job
from jobs.verifying.verdict import Code, Fault
from operators.errors import ModelError
from operators.failures import line

_PIN = "pin the model's revision, and make the rows anew in another sink or with `--overwrite`"
_DIGITS = 12

Weights = dict[str, dict[str, list[str]]]
"""By model, by digest of its weights: the runs that had them."""


def recorded(records: Sequence[dict[str, Any]]) -> Weights:
    """What the runs have told of the weights that they loaded."""
    found: Weights = defaultdict(lambda: defaultdict(list))
    for record in records:
        for model, digest in record.get("summary", {}).get("weights", {}).items():
            found[model][digest].append(record["run_id"])
    return found


def changed_between_runs(weights: Weights) -> Iterator[Fault]:
    """Models whose weights were not the same in all runs."""
    for model, digests in weights.items():
        if len(digests) > 1:
            told = "; ".join(f"{digest[:_DIGITS]} in {', '.join(ids)}" for digest, ids in digests.items())
            yield Fault.about(Code.WEIGHTS_DIFFER, f"runs had other weights: {told}", model, _PIN)


def changed_since(weights: Weights, records: Sequence[dict[str, Any]]) -> tuple[list[Fault], list[str]]:
    """Models that have other weights now; and what could not be compared, and why."""
    faults, left_out = [], []
    jobs = {json.dumps(record["job"]["steps"]): record["job"] for record in records}
    for job in jobs.values():
        try:
            now = {model: digest for step in Job.model_validate(job).steps for model, digest in step.digests().items()}
        except (ModelError, ValidationError) as error:
            left_out.append(f"weights of now not compared: {line(error)}")
            continue
        for model, digest in now.items():
            then = weights.get(model, {digest: []})
            if digest not in then:
                told = f"its weights are {digest[:_DIGITS]} now, and were {', '.join(d[:_DIGITS] for d in then)}"
                faults.append(Fault.about(Code.WEIGHTS_DIFFER, told, model, _PIN))
    return faults, left_out
