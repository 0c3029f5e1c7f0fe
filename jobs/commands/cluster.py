"""``latentmill submit|logs|stop``, and ``status`` of what was submitted."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from cluster.environment import Packages
from jobs.commands import common
from jobs.quiet import others_held_back
from operators.errors import SinkError

if TYPE_CHECKING:
    from cluster.submission import RayJobs, Submission

_ADDRESS = "RAY_API_SERVER_ADDRESS"
"""Ray's own variable for it, which Ray obeys more than what it is told."""

_address = click.option(
    "--address", required=True, envvar=_ADDRESS, help="Dashboard of the Ray cluster, as http://head:8265."
)
_id = click.argument("submission_id", metavar="ID")
_follow = click.option("--follow", is_flag=True, help="Show what the job prints until it ends, and end as it does.")


@click.command()
@common.job_file
@common.set_
@common.limit
@_address
@common.extend
@common.overwrite
@common.take_over
@click.option("--id", "submission_id", help="What the job is called there; by default its name and the time.")
@click.option(
    "--packages",
    type=click.Choice([each.value for each in Packages]),
    default=Packages.AUTO.value,
    show_default=True,
    help="`image`: the cluster has what Latentmill needs. `uv`, `pip`: install the versions of here. `auto`: look, and "
    "install what is not there.",
)
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="A variable that must be set on the cluster; or one to set, for all to read.",
)
@click.option("--unchecked", is_flag=True, help="Leave it to the cluster to look at the source and at itself.")
@_follow
@common.as_json
def submit(
    job_file: Path,
    changes: Sequence[str],
    limit: int | None,
    address: str,
    mode: str | None,
    take_over: bool,
    submission_id: str | None,
    packages: str,
    variables: Sequence[str],
    unchecked: bool,
    follow: bool,
    as_json: bool,
) -> None:
    """Run a job on a Ray cluster elsewhere; it goes on when this command has ended."""
    from jobs import submission

    order = submission.Order(
        job_file,
        common.all_changes(changes, limit),
        [f"--{mode}"] * bool(mode) + ["--take-over"] * take_over,
        variables,
        Packages(packages),
        submission_id,
        not unchecked,
    )
    file = submission.check(order)
    jobs = _cluster(address)
    with others_held_back():
        sent = submission.submit(jobs, file, order)
    if as_json:
        click.echo(json.dumps({"id": sent.submission_id, "address": jobs.address, "sink": sent.sink}))
    else:
        click.echo(sent.submission_id)
    if follow:
        _follow_to_the_end(jobs, sent.submission_id)
    click.echo(f"look at it with `{_command('logs', sent.submission_id, jobs)} --follow`", err=True)
    click.echo(f"stop it with `{_command('stop', sent.submission_id, jobs)}`", err=True)


@click.command()
@_id
@_address
@_follow
def logs(submission_id: str, address: str, follow: bool) -> None:
    """Show what a submitted job has printed."""
    jobs = _cluster(address)
    if follow:
        _follow_to_the_end(jobs, submission_id)
    click.echo(jobs.logs(submission_id), nl=False)


@click.command()
@_id
@_address
def stop(submission_id: str, address: str) -> None:
    """Stop a submitted job; what it has committed is kept, and submitting it again goes on from there."""
    jobs = _cluster(address)
    before = jobs.find(submission_id)
    if before.ended:
        click.echo(f"{submission_id} has ended before: {before.state}")
        return
    click.echo(f"{submission_id}: {jobs.stop(submission_id).state}")


def tell(submission_id: str, address: str, watch: bool, exact: bool, as_json: bool) -> None:
    """Say how a submitted job is by what Ray and its sink tell, and go on until it ends if it is to be watched."""
    jobs = _cluster(address)
    while True:
        found = jobs.find(submission_id)
        click.echo(_as_json(found, exact) if as_json else _shown(found, exact, watch))
        if found.ended or not watch:
            return
        time.sleep(common.WATCH_SECONDS)


def _cluster(address: str) -> RayJobs:
    os.environ[_ADDRESS] = address
    from cluster.submission import RayJobs

    with others_held_back():
        return RayJobs(address)


def _follow_to_the_end(jobs: RayJobs, submission_id: str) -> NoReturn:
    """Show a job's log; its exit code becomes this command's."""
    try:
        with others_held_back([2]):
            found = jobs.follow(submission_id, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        stop = _command("stop", submission_id, jobs)
        click.echo(f"latentmill: {submission_id} goes on; stop it with `{stop}`", err=True)
        sys.exit(common.STOPPED)
    if found.state == "stopped":
        click.echo(f"latentmill: {submission_id} was stopped; submitting it again goes on from there", err=True)
        sys.exit(common.STOPPED)
    if found.exit_code is None:
        click.echo(f"latentmill: {submission_id} could not be started: {found.message}", err=True)
    sys.exit(common.FAILED if found.exit_code is None else found.exit_code)


def _command(name: str, submission_id: str, jobs: RayJobs) -> str:
    return f"latentmill {name} {submission_id} --address {jobs.address}"


def _shown(found: Submission, exact: bool, short: bool) -> str:
    from jobs.show_sink import shown_status, status_line
    from jobs.submission import sink_status

    head = f"{found.id}: {found.state}" + (f" (exit code {found.exit_code})" if found.exit_code else "")
    try:
        status = sink_status(found, exact)
    except SinkError as error:
        return f"{head}, and its sink tells nothing: {error}"
    if status is None:
        return f"{head}, and nothing is written yet that can be seen from here"
    return f"{head}, {status_line(status)}" if short else f"{head}\n{shown_status(status)}"


def _as_json(found: Submission, exact: bool) -> str:
    from jobs.submission import sink_status

    try:
        status = sink_status(found, exact)
    except SinkError:
        status = None
    return json.dumps(found.as_json() | {"sink": None if status is None else status.as_json()})
