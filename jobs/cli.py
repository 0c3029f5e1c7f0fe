"""The command line: ``latentmill plan``, ``run``, and the others."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import TypeAdapter

from jobs.commands import cluster, common
from jobs.commands.export import export
from jobs.commands.lineage import lineage
from jobs.commands.manifest import manifest
from jobs.commands.pie_bench import pie_bench
from jobs.commands.replay import replay
from jobs.commands.report import report
from jobs.quiet import others_held_back
from jobs.show import plan_as_json, shown_control, shown_controls, shown_operators, shown_options, shown_plan
from jobs.spec import Job, options_type
from operators import KINDS
from operators.controls import CONTROLS
from operators.errors import LatentmillError, UserError
from operators.near import meant

if TYPE_CHECKING:
    from jobs.summary import Summary

_address = click.option("--address", help="Ray cluster to run on, as in `auto`; without it, one on this machine.")
_sink = click.argument("sink")


@click.group(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="latentmill")
@click.pass_context
def cli(context: click.Context) -> None:
    """Turn image datasets into other image datasets with diffusion models."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@common.job_file
@common.set_
@common.limit
@_address
@common.extend
@common.overwrite
@common.take_over
@click.option(
    "--progress-lines", is_flag=True, help="Show progress in lines, as for a log, where there is no terminal."
)
@common.as_json
def run(
    job_file: Path,
    changes: Sequence[str],
    limit: int | None,
    address: str | None,
    mode: str | None,
    take_over: bool,
    progress_lines: bool,
    as_json: bool,
) -> None:
    """Run a job; run again after a fault, it goes on where it stopped."""
    file = common.read(job_file, changes, limit)
    plan = file.plan()
    common.listen_on_loopback_only(address)
    from jobs.progress import console_on
    from jobs.runner import run as run_plan
    from jobs.sink.ledger import Mode

    with file.located(), others_held_back() as stderr:
        summary = run_plan(
            plan,
            address,
            console_on(stderr, progress_lines),
            Mode(mode or Mode.RUN),
            take_over,
            lineage_key=_lineage_key(),
        )
    _tell(summary, plan.job, as_json)


@cli.command()
@common.job_file
@common.set_
@click.option("--code", help="Only source rows of which a row was rejected with this code.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many source rows.")
@_address
@common.take_over
@common.as_json
def retry(
    job_file: Path,
    changes: Sequence[str],
    code: str | None,
    limit: int | None,
    address: str | None,
    take_over: bool,
    as_json: bool,
) -> None:
    """Try rejected rows again; those that come out are added to the others."""
    file = common.read(job_file, changes, None)
    common.listen_on_loopback_only(address)
    from jobs.progress import console_on
    from jobs.retry import retry as try_again

    with file.located(), others_held_back() as stderr:
        summary = try_again(file.job, code, limit, address, console_on(stderr), take_over, _lineage_key())
    _tell(summary, file.job, as_json)


@cli.command()
@common.job_file
@common.set_
@common.limit
@common.as_json
def plan(job_file: Path, changes: Sequence[str], limit: int | None, as_json: bool) -> None:
    """Check a job and say what it would do; nothing is started or written."""
    made = common.read(job_file, changes, limit).plan()
    click.echo(json.dumps(plan_as_json(made)) if as_json else shown_plan(made))


@cli.command()
@click.argument("sink", metavar="SINK|ID")
@click.option("--address", help="Dashboard of the Ray cluster that the job ID was submitted to.")
@click.option("--watch", is_flag=True, help="Go on telling until the run ends.")
@click.option("--exact", is_flag=True, help="Count all outcomes; a run that was killed has not told its last rows.")
@common.as_json
def status(sink: str, address: str | None, watch: bool, exact: bool, as_json: bool) -> None:
    """Say how far a job is, by its sink alone; it may be running anywhere, dead or done.

    Of a job that was submitted, by its id and the cluster's address.
    """
    if address is not None:
        cluster.tell(sink, address, watch, exact, as_json)
        return
    from jobs.show_sink import shown_status, status_line
    from jobs.status import State, look
    from jobs.stores.store import Store

    store, shown = Store.at(sink), status_line if watch else shown_status
    told = look(store, exact)
    click.echo(json.dumps(told.as_json()) if as_json else shown(told))
    while watch and told.state is State.RUNNING:
        time.sleep(common.WATCH_SECONDS)
        told = look(store, exact)
        click.echo(json.dumps(told.as_json()) if as_json else shown(told))


@cli.command()
@_sink
@click.option("--job", "job_file", type=click.Path(path_type=Path), help="Job file whose rows these should be.")
@click.option("--weights", is_flag=True, help="Compare the models' weights with those of now, too.")
@common.as_json
def verify(sink: str, job_file: Path | None, weights: bool, as_json: bool) -> None:
    """Read a sink to its last byte and hold it against its own outcomes."""
    from jobs.show_sink import shown_verdict
    from jobs.stores.store import Store
    from jobs.verify import verify as verified

    plan = None if job_file is None else common.read(job_file, [], None).plan()
    verdict = verified(Store.at(sink), plan, weights)
    click.echo(json.dumps(verdict.as_json()) if as_json else shown_verdict(verdict))
    if not verdict.sound:
        sys.exit(common.FAILED)


@cli.command()
@_sink
@common.as_json
def snapshots(sink: str, as_json: bool) -> None:
    """List what runs did to a sink with `format: lance`, each with the number to read it by."""
    from jobs.formats.snapshots import made
    from jobs.show_sink import shown_snapshots
    from jobs.stores.store import Store

    found = made(Store.at(sink))
    click.echo(json.dumps([one.as_json() for one in found]) if as_json else shown_snapshots(found))


@cli.command()
@click.argument("name", required=False)
@common.as_json
def operators(name: str | None, as_json: bool) -> None:
    """List the operators, or the options of one."""
    if name is not None and name not in KINDS:
        raise UserError(f"there is no operator {name!r}{meant(name, KINDS)}")
    if as_json:
        chosen = [name] if name else list(KINDS)
        click.echo(json.dumps({kind: TypeAdapter(options_type(kind)).json_schema() for kind in chosen}))
    else:
        click.echo(shown_options(name) if name else shown_operators())


@cli.command()
@click.argument("name", required=False)
def controls(name: str | None) -> None:
    """List the controls of `generate` and `edit`, or the options of one."""
    if name is not None and name not in CONTROLS:
        raise UserError(f"there is no control {name!r}{meant(name, CONTROLS)}")
    click.echo(shown_control(name) if name else shown_controls())


@cli.command()
def schema() -> None:
    """Print the JSON Schema of the job file, for editors."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    click.echo(json.dumps(dialect | Job.model_json_schema(), indent=1))


for command in (cluster.submit, cluster.logs, cluster.stop, manifest, export, lineage, pie_bench, replay, report):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake of the user's is one line and exit code 2."""
    try:
        sys.exit(cli.main(arguments, standalone_mode=False))
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "latentmill"
        _end(f"{error.format_message().rstrip('.')}; see `{command} --help`", common.USERS_ERROR)
    except click.Abort:
        _end("stopped; what was committed is kept, and running it again goes on from there", common.STOPPED)
    except UserError as error:
        _end(str(error), common.USERS_ERROR)
    except LatentmillError as error:
        _end(str(error), common.FAILED)


def _lineage_key() -> str | None:
    """The key for OpenLineage's server, where its own tools look for one too."""
    return os.environ.get("OPENLINEAGE_API_KEY", "").strip() or None


def _tell(summary: Summary, job: Job, as_json: bool) -> None:
    """Print what a run did; more rejects than are allowed are a failure."""
    from rich.console import Console

    if as_json:
        click.echo(json.dumps(summary.as_json()))
    else:
        summary.show(Console())
    if not summary.accepted:
        allowed = f"more rows were rejected than max_rejects = {job.max_rejects} allows"
        click.echo(f"latentmill: {allowed}; they are in {summary.sink.rstrip('/')}/rejects", err=True)
        sys.exit(common.FAILED)


def _end(message: str, code: int) -> None:
    click.echo(f"latentmill: {message}", err=True)
    sys.exit(code)
