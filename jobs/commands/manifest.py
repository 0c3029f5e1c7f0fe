"""``latentmill manifest``: a job and its cluster as YAML for Kubernetes or Ray's launcher."""

from __future__ import annotations

from pathlib import Path

import click

from cluster.manifests import Kind, Options
from cluster.manifests import manifest as written
from jobs.commands import common
from jobs.local_paths import refuse_home, refuse_relative


@click.command()
@common.job_file
@click.option("--kind", required=True, type=click.Choice([each.value for each in Kind]), help="What the YAML makes.")
@click.option("--image", required=True, help="Container image with Latentmill, as the Dockerfile makes it.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=Options.workers,
    show_default=True,
    help="GPU machines at the most; none while there is nothing to do.",
)
@click.option(
    "--gpus", type=click.IntRange(min=1), default=Options.gpus, show_default=True, help="GPUs of each, on Kubernetes."
)
@click.option(
    "--service-account",
    default=Options.service_account,
    show_default=True,
    help="Who pods or machines are to the object store.",
)
@click.option(
    "--schedule", default=Options.schedule, show_default=True, help="When a scheduled job starts, in cron's notation."
)
@click.option("--time-zone", default=Options.time_zone, show_default=True, help="Whose clock the schedule goes by.")
def manifest(
    job_file: Path,
    kind: str,
    image: str,
    workers: int,
    gpus: int,
    service_account: str,
    schedule: str,
    time_zone: str,
) -> None:
    """Print YAML for `kubectl apply` or `ray up`; the job is checked, and nothing is started or written."""
    file = common.read(job_file, [], None)
    with file.located():
        refuse_home(file.job)
        refuse_relative(file.job, "pods have none of your folders")
    options = Options(image, workers, gpus, service_account, schedule, time_zone)
    click.echo(written(Kind(kind), file.job.name, job_file.read_text(encoding="utf-8"), options), nl=False)
