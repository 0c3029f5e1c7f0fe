"""What accepted rows have cost, by the time that accelerators or machines were held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_HOUR = 3600.0


@dataclass(frozen=True)
class Cost:
    """Hours that were held, and their price.

    A stage's actors hold their accelerators from when they begin to load weights to the end of their last part, waiting
    included: accelerator hours are that time, summed over the actors of all stages and runs, times the accelerators of
    an actor. Where no stage has an accelerator, machines are counted: those that actors ran on, for as long as the run
    took from its start to its end. Runs whose rows were replaced since have cost, too.
    """

    unit: str
    """``accelerator`` or ``machine``."""
    hours: float
    price: float
    """Of one such hour."""
    rows: int
    """Accepted rows that are there."""

    @property
    def total(self) -> float:
        """Of all runs."""
        return self.hours * self.price

    @property
    def per_thousand(self) -> float | None:
        """Of 1,000 accepted rows; None where there are none."""
        return self.total / self.rows * 1000 if self.rows else None

    def as_json(self) -> dict[str, Any]:
        """The figures by name."""
        return {**vars(self), "total": self.total, "per_thousand": self.per_thousand}


def cost(records: Sequence[Mapping[str, Any]], price: float, rows: int) -> Cost | None:
    """The cost of accepted rows by the runs' records; None where these tell no hours.

    Args:
        records: of all runs of a sink.
        price: of an hour of an accelerator; of a machine, if the runs used none.
        rows: accepted rows.
    """
    accelerators = sum(accelerator_hours(record) for record in records)
    machines = sum(_machine_hours(record) for record in records)
    if not accelerators and not machines:
        return None
    unit, hours = ("accelerator", accelerators) if accelerators else ("machine", machines)
    return Cost(unit, hours, price, rows)


def accelerator_hours(record: Mapping[str, Any]) -> float:
    """Of one run."""
    placed = {" + ".join(step["step"] for step in one["steps"]): one["gpus"] for one in record.get("resources", ())}
    stages = record.get("summary", {}).get("stages", {})
    return float(sum(held["hours"] * placed.get(stage, 0.0) for stage, held in stages.items()))


def _machine_hours(record: Mapping[str, Any]) -> float:
    summary = record.get("summary", {})
    seconds = summary.get("seconds") or summary.get("working_seconds", 0.0)
    return float(seconds / _HOUR * summary.get("hosts", 0))
