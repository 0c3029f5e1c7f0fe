"""``dedup``: of the rows that one source row became, leave out those that count as the same as an earlier one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa

from operators import columns
from operators.base import Kind, Spec
from operators.errors import RowError
from operators.likeness import Alike, Keys, Likeness, same
from operators.selector import Selector, families


class Dedup(Alike, Spec):
    """Of the rows that one source row became, leave out those that are the same as an earlier one."""

    kind: ClassVar[str] = "dedup"
    short: ClassVar[str | None] = "by"

    def reads(self) -> dict[str, Kind]:
        """What is compared."""
        return {self.column: Kind.VALUE if self.by is Likeness.EXACT else Kind.IMAGE}

    def writes(self) -> dict[str, pa.DataType]:
        """None."""
        return {}

    def alone(self) -> str:
        """There is nothing to compare a row with."""
        return (
            "it compares the rows that a source row became, and no step before it makes several; to leave out "
            "duplicates of the source, give `dedup` under `source`"
        )

    def load(
        self,
        step: str | None = None,
        batch_rows: int = 16,
        device: str | None = None,  # noqa: ARG002
        compiled: bool = False,  # noqa: ARG002
    ) -> Deduplicating:
        """The step; there is nothing to be loaded."""
        return Deduplicating(self, step, batch_rows)


class Deduplicating(Selector[Dedup]):
    """The step at work."""

    def judge(self, rows: pa.Table) -> tuple[dict[int, str], dict[int, RowError]]:
        """Compare the rows of each source row with each other; the first of those that are the same is kept."""
        keys = Keys.of(rows[self.spec.column], self.spec.by)
        ids, family = rows[columns.ROW_ID].to_pylist(), np.array(families(rows).to_pylist(), str)
        reasons: dict[int, str] = {}
        for name in np.unique(family):
            members = np.flatnonzero(family == name)
            firsts = members[same(Keys(keys.words[members], keys.known[members]), self.spec.bits)]
            for place, first in zip(members.tolist(), firsts.tolist(), strict=True):
                if first != place:
                    reasons[place] = self.spec.reason(ids[first])
        return reasons, {}
