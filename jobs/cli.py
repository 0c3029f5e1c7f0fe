"""The command line: ``latentmill run|plan|operators|schema``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from jobs.plan import Plan, make_plan
from jobs.spec import Job
from operators import KINDS, Spec
from operators.errors import LatentmillError, UserError

DONE, FAILED, USERS_ERROR = 0, 1, 2

_job_file = click.argument("job_file", type=click.Path(path_type=Path))
_set = click.option("--set", "changes", multiple=True, metavar="A.B=C", help="Change one value of the job file.")
_limit = click.option("--limit", type=click.IntRange(min=1), help="Take only the first rows of the source.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="latentmill")
def cli() -> None:
    """Turn image datasets into other image datasets with diffusion models."""


@cli.command()
@_job_file
@_set
@_limit
@click.option("--address", help="Ray cluster to run on, as in `auto`; without it, one on this machine.")
@_as_json
def run(job_file: Path, changes: Sequence[str], limit: int | None, address: str | None, as_json: bool) -> None:
    """Run a job; run again after a fault, it goes on where it stopped."""
    plan = _planned(job_file, changes, limit)
    from jobs.runner import run as run_plan

    summary = run_plan(plan, address, Console(stderr=True))
    if as_json:
        click.echo(json.dumps(summary.as_json()))
    else:
        summary.show(Console())
    if not summary.accepted:
        click.echo(
            f"more rows were rejected than max_rejects = {plan.job.max_rejects} allows; they are in {summary.sink}/rejects",
            err=True,
        )
        sys.exit(FAILED)


@cli.command()
@_job_file
@_set
@_limit
@_as_json
def plan(job_file: Path, changes: Sequence[str], limit: int | None, as_json: bool) -> None:
    """Check a job and say what it would do; nothing is started or written."""
    made = _planned(job_file, changes, limit)
    if as_json:
        click.echo(json.dumps(_plan_as_json(made)))
    else:
        _show(made, Console())


@cli.command()
@click.argument("name", required=False)
@_as_json
def operators(name: str | None, as_json: bool) -> None:
    """List the operators, or the options of one."""
    if name is not None and name not in KINDS:
        raise UserError(f"there is no operator {name!r}; there are {', '.join(KINDS)}")
    chosen = [KINDS[name]] if name else list(KINDS.values())
    if as_json:
        click.echo(json.dumps({spec.kind: spec.model_json_schema() for spec in chosen}))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    if name:
        for option, about in chosen[0].model_fields.items():
            table.add_row(option, _default(about), about.description or "")
    else:
        for spec in chosen:
            table.add_row(spec.kind, _summary(spec))
    Console().print(table)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of the job file, for editors."""
    click.echo(json.dumps(Job.model_json_schema(), indent=1))


def main() -> None:
    """Run the command line; a mistake of the user's is one line and exit code 2."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(USERS_ERROR)
    except click.Abort:
        click.echo("stopped; run it again to go on", err=True)
        sys.exit(130)
    except UserError as error:
        click.echo(f"latentmill: {error}", err=True)
        sys.exit(USERS_ERROR)
    except LatentmillError as error:
        click.echo(f"latentmill: {error}", err=True)
        sys.exit(FAILED)


def _planned(job_file: Path, changes: Sequence[str], limit: int | None) -> Plan:
    changed = [*changes, f"source.limit={limit}"] if limit else changes
    return make_plan(Job.from_yaml(job_file, changed))


def _show(made: Plan, console: Console) -> None:
    console.print(f"[bold]{made.job.name}[/bold]  {made.source.uri} -> {made.job.sink.uri}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("step", "model", "reads", "adds"):
        table.add_column(heading)
    table.add_row("source", "", "", _columns(made.source.schema.names))
    for step in made.steps:
        models = ", ".join(
            f"{model} (built in)" if model.startswith("builtin:") else model for model in step.spec.models()
        )
        fan = f"  1 -> {len(step.spec.branches())} rows" if step.spec.branches() else ""
        table.add_row(step.name, models, _columns(step.spec.reads()), _columns(step.spec.writes()) + fan)
    console.print(table)
    rows = "unknown until read" if made.rows is None else f"{made.rows:,} -> {made.rows_out:,}"
    parts = "unknown until read" if made.parts is None else f"{made.parts:,}"
    console.print(f"rows {rows}   parts {parts}   plan {made.fingerprint[:12]}")


def _plan_as_json(made: Plan) -> dict[str, Any]:
    return {
        "name": made.job.name,
        "fingerprint": made.fingerprint,
        "rows": made.rows,
        "rows_out": made.rows_out,
        "parts": made.parts,
        "columns": {field.name: str(field.type) for field in made.output},
        "steps": [
            {
                "name": step.name,
                "models": [str(model) for model in step.spec.models()],
                "reads": {name: kind.value for name, kind in step.spec.reads().items()},
                "writes": {name: str(kind) for name, kind in step.spec.writes().items()},
            }
            for step in made.steps
        ],
        "job": made.resolved(),
    }


def _columns(names: Any) -> str:
    return ", ".join(names)


def _summary(spec: type[Spec]) -> str:
    return (spec.__doc__ or "").strip().splitlines()[0]


def _default(option: FieldInfo) -> str:
    return "" if option.is_required() else json.dumps(option.get_default(call_default_factory=True), default=str)
