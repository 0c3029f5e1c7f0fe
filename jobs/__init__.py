"""What to run: jobs, their sources, plans, runs and results. Ray is imported when a job runs, and not before."""

from jobs.plan import Plan, make_plan
from jobs.sources import Format, RowOptions, Source, SourceSpec, TableSource
from jobs.spec import Job, LineageSpec, SinkSpec

__all__ = [
    "Format",
    "Job",
    "LineageSpec",
    "Plan",
    "RowOptions",
    "SinkSpec",
    "Source",
    "SourceSpec",
    "TableSource",
    "make_plan",
]
