"""A lineage as text for a person: an indented tree."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from jobs.lineage.steps import Model, Step
from jobs.lineage.tree import Origin, Tree

Branch = tuple[str, list["Branch"]]
"""A line, and what hangs on it."""

_DIGITS = 12
_WIDTH = 100


def shown(trees: Sequence[Tree]) -> str:
    """The trees, one below the other."""
    return "\n\n".join("\n".join(_lines(_row(tree))) for tree in trees)


def _row(tree: Tree) -> Branch:
    told = tree.outcome
    outcome = f"source row: {told['outcome']}, {told['outputs']} accepted, {told['rejects']} rejected"
    outcome += f", {told['attempts']} attempts" if told["attempts"] > 1 else ""
    leaves: list[Branch] = [(f"in {tree.part} of {tree.sink}", []), (outcome, [])]
    if tree.error:
        error = tree.error
        why = f"rejected in {error['step']}: {error['code']}: {error['message']} (attempt {error['attempt']})"
        leaves.append((why, []))
    leaves += [(note, []) for note in tree.notes]
    leaves += [(f"{name}: {_told(value)}", []) for name, value in tree.values.items()]
    leaves += [(f"row seed {tree.seed}", [])] if tree.seed is not None else []
    return f"{tree.row_id}: {tree.state}", [*leaves, _run(tree.run), *map(_step, tree.steps), _source(tree.source)]


def _run(run: Mapping[str, Any]) -> Branch:
    head = f"run {run['run_id']}"
    if "epoch" not in run:
        return head, []
    head += f" of job {run['job']} ({run['mode']}, epoch {run['epoch']}): {run['state']}"
    times = [_time(run["started"]), _time(run["ended"]) if "ended" in run else "its end is not known"]
    leaves = [f"{times[0]} to {times[1]}, by {run['host']}", f"plan {run['fingerprint']}"]
    leaves += [f"computed on {machine}" for machine in run["machines"]]
    leaves.append(", ".join(f"{name} {version}" for name, version in run["packages"].items() if version))
    return head, [(leaf, []) for leaf in leaves]


def _step(step: Step) -> Branch:
    leaves = [f"seed {step.seed}"]
    leaves += [_model(model) for model in step.models]
    leaves += [f"{name}: {_told(value)}" for name, value in step.parameters.items()]
    leaves += [f"column {name} held {_told(value)}" for name, value in step.values.items()]
    if step.batch is not None:
        leaves.append(f"went through the networks with {step.batch} rows, itself among them")
    return f"step {step.name} -> {step.row_id}", [(leaf, []) for leaf in leaves]


def _model(model: Model) -> str:
    revision = f" at {model.revision}" if model.revision else ""
    return f"model {model.model}{revision}, weights " + (f"sha256 {model.sha256}" if model.sha256 else "not recorded")


def _source(source: Origin) -> Branch:
    leaves: list[Branch] = [(f"content hash {source.content_hash}", [])]
    leaves += [(source.note, [])] if source.note else []
    return f"source {source.uri}, row {source.source_id}", [*leaves, *([_row(source.row)] if source.row else [])]


def _told(value: Any) -> str:
    if isinstance(value, Mapping) and "sha256" in value:
        return f"{value['bytes']:,} bytes, sha256 {value['sha256'][:_DIGITS]}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."


def _time(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%S} UTC"


def _lines(branch: Branch, first: str = "", rest: str = "") -> Iterator[str]:
    head, leaves = branch
    yield f"{first}{head}"
    for number, leaf in enumerate(leaves, 1):
        marks = ("`-- ", "    ") if number == len(leaves) else ("|-- ", "|   ")
        yield from _lines(leaf, f"{rest}{marks[0]}", f"{rest}{marks[1]}")
