"""What a run did: counted as parts are committed, summed up at the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

_SHOWN = 5
"""Ids that are named of rows that are counted."""


@dataclass
class StepFigures:
    """Rows that a step took, and the seconds that its actors worked on them, all actors together."""

    rows: int = 0
    seconds: float = 0.0
    card: float = 0.0
    """The greatest share of its card's memory, 0..1, that an actor had taken by the end of the step."""

    @property
    def rate(self) -> float:
        """Rows per second of one actor."""
        return self.rows / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, float]:
        """The figures by name; nothing of cards where none was used."""
        told = {"rows": self.rows, "seconds": round(self.seconds, 3), "rows_per_second": round(self.rate, 2)}
        return told | ({"card": round(self.card, 3)} if self.card else {})

    def __str__(self) -> str:
        """As a person reads it."""
        return f"{self.rate:,.1f} rows/s an actor{f', {self.card:.0%} of its card' * bool(self.card)}"


@dataclass
class StageFigures:
    """The actors that took a stage's parts, and for how long each was held."""

    _spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By actor: from when it began to load its weights to the end of its last part, in seconds since 1970."""

    def add(self, actor: str, began: float, ended: float) -> None:
        """Take in that an actor has finished a part."""
        known_began, known_ended = self._spans.get(actor, (began, ended))
        self._spans[actor] = min(began, known_began), max(ended, known_ended)

    def as_json(self) -> dict[str, float]:
        """How many actors, and their hours together."""
        held = sum(ended - began for began, ended in self._spans.values())
        return {"actors": len(self._spans), "hours": round(held / 3600, 6)}


@dataclass
class Named:
    """Rows, and the ids of the first of them."""

    rows: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, ids: Sequence[str]) -> None:
        """Count more of them."""
        self.rows += len(ids)
        self.ids += ids[: _SHOWN - len(self.ids)]

    def __str__(self) -> str:
        """As a person reads it."""
        return f"{self.rows:,}  ({', '.join(self.ids)}{', ...' * (self.rows > len(self.ids))})"


@dataclass
class Summary:
    """The counts of one run, and of what earlier runs had done."""

    run_id: str
    sink: str
    rows_before: int = 0
    rejected_before: int = 0
    not_rejected_before: int = 0
    rows_in: int = 0
    rows_out: int = 0
    filtered: int = 0
    filtered_by: Counter[str] = field(default_factory=Counter)
    """The filtered rows by the step that left them out, of steps that tell."""
    rejected: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)
    """Rows that had been rejected and were tried again, by the code that they had."""
    changed: int = 0
    """Rows in that had been done, have changed in the source since, and took the place of what they were."""
    outdated: Named = field(default_factory=Named)
    """Rows that have changed in the source, and are left as they were: the sink's format can't replace rows."""
    vanished: Named = field(default_factory=Named)
    """Rows that are in the source no more, and are left as they were."""
    snapshot: int | None = None
    """The version of the table that holds what this run did, if the sink's format has versions."""
    parts: int = 0
    files_out: int = 0
    bytes_out: int = 0
    """Of accepted rows, as they are stored."""
    seconds: float = 0.0
    working_seconds: float = 0.0
    """From the first part's first step to the last commit: without the start of actors and the loading of weights."""
    steps: dict[str, StepFigures] = field(default_factory=dict)
    stages: dict[str, StageFigures] = field(default_factory=dict)
    """By the names of their steps, as in ``invert + edit``."""
    hosts: set[str] = field(default_factory=set)
    """Machines that the stages' actors ran on."""
    weights: dict[str, str] = field(default_factory=dict)
    machines: list[str] = field(default_factory=list)
    """What the steps' networks computed on."""
    _began: float = math.inf
    events_unsent: int = 0
    """OpenLineage events that the job's server does not have."""
    events_trouble: str = ""
    """Why, as it was at the last attempt."""
    accepted: bool = True
    """Whether the rejects of all runs together are within the job's ``max_rejects``."""

    def add(self, report: Mapping[str, Any]) -> None:
        """Count one committed part, or rows that earlier runs had done."""
        if "before" in report:
            self.rows_before += report["before"]["rows"]
            self.rejected_before += report["before"]["rejected"]
            self.not_rejected_before += report["before"]["not_rejected"]
            self.outdated.add(report["outdated"])
            return
        self.parts += 1
        self.rows_in += report["rows_in"]
        self.rows_out += report["rows_out"]
        self.filtered += report["filtered"]
        self.filtered_by.update(report.get("filtered_by", {}))
        self.files_out += report.get("files", 0)
        self.bytes_out += report.get("bytes", 0)
        self.changed += report.get("changed", 0)
        self._began = min(self._began, report["began"])
        self.working_seconds = round(max(self.working_seconds, report["ended"] - self._began), 3)
        self.rejected.update(report["rejected"])
        self.retried.update(report.get("retried", {}))
        for step, note in report["steps"].items():
            figures = self.steps.setdefault(step, StepFigures())
            figures.rows += note["rows"]
            figures.seconds += note["seconds"]
            figures.card = max(figures.card, note.get("card") or 0.0)
            self.weights |= note["weights"]
            self.machines += [told for told in [note.get("machine")] if told and told not in self.machines]
        for stage, held in report.get("actors", {}).items():
            self.stages.setdefault(stage, StageFigures()).add(held["actor"], held["began"], held["ended"])
            self.hosts.add(held["host"])

    def rejected_of_all(self) -> tuple[int, int]:
        """Rows that were rejected, and all rows that came to an end, in this run and before."""
        rejected = self.rejected_before + sum(self.rejected.values())
        return rejected, rejected + self.not_rejected_before + self.rows_out + self.filtered

    def as_json(self) -> dict[str, Any]:
        """The figures by name."""
        plain = {key: value for key, value in vars(self).items() if key != "_began"}
        figures = {key: {name: one.as_json() for name, one in plain[key].items()} for key in ("steps", "stages")}
        # What is handed out stays as it is while more is counted.
        told = ("filtered_by", "rejected", "retried", "weights")
        copies: dict[str, Any] = {key: dict(plain[key]) for key in told}
        copies["machines"] = [*self.machines]
        named = {key: {"rows": plain[key].rows, "ids": [*plain[key].ids]} for key in ("outdated", "vanished")}
        return {**plain, **copies, **named, **figures, "hosts": len(self.hosts)}

    def show(self, console: Console) -> None:
        """Print the figures for a person."""
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_row("rows in", f"{self.rows_in:,}" + (f"  (+ {self.rows_before:,} before)" * bool(self.rows_before)))
        table.add_row("rows out", f"{self.rows_out:,}")
        if self.changed:
            table.add_row("replaced", f"{self.changed:,} of the rows in had changed in the source")
        if self.outdated.rows:
            advice = "left as they were; `--overwrite` makes all anew, and sink.format: lance can replace rows"
            table.add_row("changed", f"{self.outdated}  {advice}")
        if self.vanished.rows:
            table.add_row("vanished", f"{self.vanished}  no longer in the source; left as they were")
        if self.filtered:
            steps = ", ".join(f"{count:,} by {step}" for step, count in self.filtered_by.items())
            table.add_row("filtered", f"{self.filtered:,}" + f"  ({steps})" * bool(steps))
        for code, count in sorted(self.rejected.items()):
            table.add_row("rejected", f"{count:,}  {code}")
        for name, step in self.steps.items():
            table.add_row(name, str(step))
        table.add_row("seconds", f"{self.seconds:,.1f}")
        table.add_row("written to", self.sink)
        if self.snapshot is not None:
            table.add_row("snapshot", str(self.snapshot))
        if self.events_unsent:
            table.add_row("OpenLineage", f"{self.events_unsent:,} events not sent  ({self.events_trouble})")
        console.print(table)
