"""What several commands have in common: arguments, options, exit codes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from jobs.jobfile import JobFile

FAILED, USERS_ERROR, STOPPED = 1, 2, 130
"""Exit codes."""

WATCH_SECONDS = 5.0

_LOOPBACK_ONLY = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
"""Ray's word for a cluster of this machine alone, on Linux too; Ray reads it when it is imported."""

job_file = click.argument("job_file", type=click.Path(path_type=Path))
set_ = click.option("--set", "changes", multiple=True, metavar="A.B=C", help="Change one value of the job file.")
limit = click.option("--limit", type=click.IntRange(min=1), help="Take only the first rows of the source.")
extend = click.option(
    "--extend", "mode", flag_value="extend", help="Keep another plan's rows; do new source rows by this one."
)
overwrite = click.option(
    "--overwrite",
    "mode",
    flag_value="overwrite",
    help="Make everything anew; old rows stay until new ones are complete.",
)
take_over = click.option(
    "--take-over", is_flag=True, help="Take the sink from a run that lives or seems to; that one ends."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def all_changes(changes: Sequence[str], limit: int | None) -> list[str]:
    """The changes to a job file, with ``--limit`` as one of them."""
    return [*changes, f"source.limit={limit}"] if limit else [*changes]


def read(job_file: Path, changes: Sequence[str], limit: int | None) -> JobFile:
    """Read a job file; errors as in :meth:`JobFile.read`."""
    return JobFile.read(job_file, all_changes(changes, limit))


def listen_on_loopback_only(address: str | None) -> None:
    """Let nobody else reach the cluster that a run starts for itself; one that is there has addresses of its own."""
    if address is None:
        os.environ.setdefault(*_LOOPBACK_ONLY)
