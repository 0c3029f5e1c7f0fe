"""Jobs and clusters as YAML for Kubernetes (KubeRay) and for Ray's cluster launcher.

The files beside this one are what comes out, with ``$placeholders``; what several of them share is in ``parts/``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from string import Template
from textwrap import indent

from operators.errors import UserError

_FOLDER = Path(__file__).parent
_LONGEST_NAME = 40
"""Of what Kubernetes allows, KubeRay needs the rest for the names of pods and services."""

_PART = re.compile(r"^( *)<(.+)>\n", re.MULTILINE)
_TIMES = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly)|\S+( \S+){4}")


class Kind(StrEnum):
    """What a manifest makes."""

    RAYJOB = "rayjob"
    RAYCRONJOB = "raycronjob"
    RAYCLUSTER = "raycluster"
    CRONJOB = "cronjob"
    LAUNCHER_AWS = "launcher-aws"
    LAUNCHER_GCP = "launcher-gcp"


SCHEDULED = frozenset({Kind.RAYCRONJOB, Kind.CRONJOB})


@dataclass(frozen=True)
class Options:
    """What a manifest needs to know beside the job."""

    image: str
    """Container image that has Latentmill installed."""
    workers: int = 8
    """GPU machines (pods) at the most; none while there is nothing to do."""
    gpus: int = 1
    """GPUs of each."""
    service_account: str = "latentmill"
    """Who the pods or machines are to the object store: a service account's (instance profile's) name."""
    schedule: str = "0 2 * * *"
    """When a scheduled job starts, in cron's notation."""
    time_zone: str = "Etc/UTC"


def manifest(kind: Kind, name: str, job: str, options: Options) -> str:
    """The YAML of a kind, with comments.

    Args:
        kind: what to make.
        name: the job's; what Kubernetes doesn't allow in names becomes ``-``.
        job: the text of the job file.
        options: the rest.

    Raises:
        UserError: the schedule is none.
    """
    if kind in SCHEDULED and not _TIMES.fullmatch(options.schedule):
        raise UserError(f"{options.schedule!r} is no schedule; it has five fields, as in '0 2 * * *'")
    values = {
        "name": named(name),
        "job": job.rstrip("\n"),
        "image": options.image,
        "ray_version": version("ray"),
        "workers": options.workers,
        "gpus": options.gpus,
        "service_account": options.service_account,
        "schedule": options.schedule,
        "time_zone": options.time_zone,
    }
    return _filled(_FOLDER / f"{kind}.yaml", values)


def named(name: str) -> str:
    """A name as Kubernetes allows it: lower case letters, digits and ``-``, beginning with a letter."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    plain = plain if plain[:1].isalpha() else f"job-{plain}"
    return plain[:_LONGEST_NAME].rstrip("-")


def _filled(path: Path, values: dict[str, object]) -> str:
    """A file with its placeholders filled, and with the parts that its lines ``<part>`` stand for, as far indented."""

    def part(match: re.Match[str]) -> str:
        depth, name = match.groups()
        text = str(values["job"]) if name == "job" else _filled(_FOLDER / "parts" / f"{name}.yaml", values)
        return indent(text.rstrip("\n") + "\n", depth)

    # The job's own text is put in last, for it may have a $ of its own.
    return _PART.sub(part, Template(path.read_text()).substitute(values))
