"""What a verification found: checks, and for each fault what, where and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

_SHOWN = 10
_ROWS_NAMED = 5


class Code(StrEnum):
    """What can be wrong with a sink; docs/runs.md lists them."""

    UNREADABLE = "unreadable"
    DATA_MISSING = "data_missing"
    ORPHAN = "orphan"
    COLUMNS_DIFFER = "columns_differ"
    LINEAGE_INCOMPLETE = "lineage_incomplete"
    ROW_DOUBLED = "row_doubled"
    OUTCOME_DOUBLED = "outcome_doubled"
    OUTPUTS_DISAGREE = "outputs_disagree"
    REJECTS_DISAGREE = "rejects_disagree"
    FILTERED_DISAGREE = "filtered_disagree"
    CONTENT_DIFFERS = "content_differs"
    RUN_UNKNOWN = "run_unknown"
    WEIGHTS_DIFFER = "weights_differ"
    PLAN_DIFFERS = "plan_differs"
    ROWS_WITHOUT_OUTCOME = "rows_without_outcome"


CHECKS = {
    Code.UNREADABLE: ("objects readable to the last byte", "objects"),
    Code.DATA_MISSING: ("parts that count are there", "parts"),
    Code.ORPHAN: ("objects belong to a part that counts", "objects"),
    Code.COLUMNS_DIFFER: ("columns alike in all parts", "parts"),
    Code.LINEAGE_INCOMPLETE: ("lineage complete", "rows"),
    Code.ROW_DOUBLED: ("row ids unique", "rows"),
    Code.OUTCOME_DOUBLED: ("one outcome for a source row", "source rows"),
    Code.OUTPUTS_DISAGREE: ("rows as outcomes say", "rows"),
    Code.REJECTS_DISAGREE: ("rejects as outcomes say", "rejected rows"),
    Code.FILTERED_DISAGREE: ("filtered rows as outcomes say", "parts"),
    Code.CONTENT_DIFFERS: ("content hashes as in outcomes", "rows"),
    Code.RUN_UNKNOWN: ("rows' runs have a record", "runs"),
    Code.WEIGHTS_DIFFER: ("weights the same", "models"),
    Code.PLAN_DIFFERS: ("the job's plan", "jobs"),
    Code.ROWS_WITHOUT_OUTCOME: ("source rows with an outcome", "source rows"),
}
"""What each check looks at; its name is the code of the faults that it finds."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: at one object, or with one model."""

    code: Code
    what: str
    where: str
    remedy: str
    rows: tuple[str, ...] = ()
    """Ids of the first rows that it is about."""

    @classmethod
    def about(cls, code: Code, what: str, where: str, remedy: str, rows: Sequence[str] = ()) -> Fault:
        """A fault that names the first of the rows that it is about."""
        return cls(code, what, where, remedy, tuple(sorted(rows)[:_ROWS_NAMED]))

    def __str__(self) -> str:
        rows = f" ({', '.join(self.rows)})" if self.rows else ""
        return f"{self.code}: {self.where}: {self.what}{rows}; {self.remedy}"


@dataclass
class Verdict:
    """What was looked at, and what is wrong."""

    sink: str
    looked_at: dict[Code, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was left out, and why."""

    def add(self, faults: Iterable[Fault]) -> None:
        """Take in what a check found."""
        self.faults += faults

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def of(self, code: Code) -> list[Fault]:
        """The faults that one check found."""
        return [fault for fault in self.faults if fault.code is code]

    def as_json(self) -> dict[str, Any]:
        """The verdict by name, with every fault."""
        checks = {
            code.value: {"looked_at": seen, "faults": len(self.of(code))} for code, seen in self.looked_at.items()
        }
        faults = [asdict(fault) for fault in self.faults]
        return {"sink": self.sink, "sound": self.sound, "checks": checks, "faults": faults, "notes": self.notes}

    def lines(self) -> list[str]:
        """The faults for a person, the first of each kind."""
        told = []
        for code in self.looked_at:
            found = self.of(code)
            told += [str(fault) for fault in found[:_SHOWN]]
            if len(found) > _SHOWN:
                told.append(f"{code}: and {len(found) - _SHOWN:,} more; --json has all")
        return told + self.notes
