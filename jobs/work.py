"""What a run has to do: the source rows that are new to its sink, or something else that becomes parts."""

from __future__ import annotations

from typing import Protocol

from ray.data import Dataset

from jobs.pipeline import dataset
from jobs.pipeline.stamp import Stamp
from jobs.pipeline.suspects import Suspects
from jobs.plan import Plan
from jobs.sink.ledger import Epoch
from jobs.sink.writer import Writer
from jobs.summary import Summary


class Work(Protocol):
    """Where a run's parts come from, and how they are committed."""

    def parts(self, plan: Plan, stamp: Stamp, epoch: Epoch, watch: Suspects) -> Dataset:
        """The parts, not read yet; who reads them tells ``watch`` what is in hand."""

    def writer(self, plan: Plan, epoch: Epoch) -> Writer:
        """What commits them."""

    def rejected_of_all(self, summary: Summary, epoch: Epoch) -> tuple[int, int]:
        """When all are committed: the sink's rejected rows, and all that came to an end."""


class NewRows:
    """Source rows without an outcome."""

    def parts(self, plan: Plan, stamp: Stamp, epoch: Epoch, watch: Suspects) -> Dataset:
        """Read from the source."""
        # A generation that is to replace another one is whole at once: its rows are made once.
        return dataset.new_rows(plan, stamp, epoch.store, plan.format.replaces and epoch.store == epoch.sink, watch)

    def writer(self, plan: Plan, epoch: Epoch) -> Writer:
        """One part, one commit."""
        return Writer(epoch, plan.output, plan.format, plan.rejected, plan.job.sink.filtered)

    def rejected_of_all(self, summary: Summary, epoch: Epoch) -> tuple[int, int]:  # noqa: ARG002
        """What the run has counted: readers tell of the rows that were done before."""
        return summary.rejected_of_all()
