"""A job sent to a Ray cluster: checked here first, with the code and the packages that it has here."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from cluster.environment import NEVER_INSTALLED, Packages, copy_code, pinned, requirements
from cluster.preflight import mark
from cluster.submission import PYTHON, RayJobs, Submission
from jobs.jobfile import JobFile
from jobs.local_paths import refuse_home, refuse_relative, relative_paths
from jobs.secrecy import refuse_credentials
from jobs.sink import ledger
from jobs.spec import Job
from jobs.status import Status, look
from jobs.stores.store import Store
from operators.errors import ClusterError, ModelError, SinkError, SourceError, SpecError

SINK = "latentmill_sink"
"""The entry of a submission's metadata that tells its sink."""

_STOP_SECONDS = 60
"""In which a job that is stopped may put down what it has; Ray would give it three."""

_EXTRAS = {
    "s3": ("s3://", "s3a://"),
    "gcs": ("gs://", "gcs://"),
    "lance": ("lance",),
    "video": ('"produces": "video"',),
    "conditions": ('{"condition": {',),
    "safety": ('{"safety": {',),
    "weighting": ('{"prompt_weighting": {',),
    "c2pa": ('"certificate": "',),
    "scores": ('{"score": {',),
    "lpips": ('"lpips": "alex"', '"lpips": "vgg"', '"lpips": "squeeze"', '"preset": "pie_bench"'),
}
"""Optional parts of Latentmill, and what a job says that needs them."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_SECRET = re.compile(
    r"(?:^|_)(?:\w*KEY|\w*TOKEN|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|SIGNATURE|CONNECTION_STRING)(?:_|$)",
    re.IGNORECASE,
)
"""Names of variables whose values are nobody else's business."""

_SET_THERE = "set it in the environment of the cluster's nodes, as from a secret of theirs"


@dataclass(frozen=True)
class Order:
    """What is to be done with a job file on a cluster."""

    job_file: Path
    changes: Sequence[str] = ()
    """``a.b=c``, as for :meth:`Job.from_yaml`."""
    options: Sequence[str] = ()
    """Of ``latentmill run``, as in ``--extend``."""
    variables: Sequence[str] = ()
    """Of the environment: ``NAME`` must be set on the cluster, ``NAME=VALUE`` is sent."""
    packages: Packages = Packages.AUTO
    submission_id: str | None = None
    checked: bool = True
    """Whether the plan is made here and the cluster is asked what it has."""


@dataclass(frozen=True)
class Sent:
    """A job that is on its way."""

    submission_id: str
    sink: str


def check(order: Order) -> JobFile:
    """Check a job file before it goes anywhere.

    Raises:
        UserError: as :meth:`JobFile.plan` does; or it names a place below somebody's home, or sends a secret.
    """
    file = JobFile.read(order.job_file, order.changes)
    if order.submission_id is not None and not _ID.fullmatch(order.submission_id):
        raise SpecError("an id is made of letters, digits, `.`, `_` and `-`", f"--id {order.submission_id}")
    _sent(order.variables)
    with file.located():
        refuse_home(file.job)
    if order.checked:
        try:
            file.plan()
        except (SourceError, ModelError) as error:
            hint = "; if only the cluster can see it, submit with `--unchecked`"
            raise type(error)(f"{error.message}{hint}", error.where) from error
    return file


def submit(jobs: RayJobs, file: JobFile, order: Order) -> Sent:
    """Send a checked job to a cluster.

    Raises:
        UserError: relative paths lead nowhere there, variables are not set there, what can't be installed is missing
            there, or there is a job of this id.
    """
    needed = requirements(_extras(file.job))
    relative = relative_paths(file.job)
    if order.checked:
        here = [str(Path.cwd()), str(order.job_file.absolute())]
        told = jobs.ask(
            {
                "requirements": needed,
                "variables": [name for name in order.variables if "=" not in name],
                "paths": {path: mark(path) for path in here},
            }
        )
    else:
        told = {"lacking": {}, "unset": [], "elsewhere": [""]}
    if relative and told["elsewhere"]:
        with file.located():
            missing = "the folder that it starts at is not on the cluster"
            refuse_relative(file.job, missing if order.checked else "nobody looked for it on the cluster")
    for name in told["unset"]:
        raise ClusterError(f"{name} is not set on the cluster; {_SET_THERE}", f"--env {name}")
    environment = {
        **_installed(needed, told["lacking"], order.packages, jobs.address),
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_SECONDS), **_sent(order.variables)},
    }
    submission_id = order.submission_id or f"{file.job.name}-{datetime.now():%Y%m%d-%H%M%S}"
    sink = Store.at(file.job.sink.uri).uri
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "work")
        work.mkdir()
        shutil.copyfile(order.job_file, work / order.job_file.name)
        environment |= {"working_dir": str(work), "py_modules": copy_code(Path(folder))}
        jobs.submit(submission_id, _entrypoint(order, file.job, relative), environment, {SINK: sink})
    return Sent(submission_id, sink)


def sink_status(sent: Submission, exact: bool = False) -> Status | None:
    """How far a submitted job is, by its sink; None where it has written nothing that can be seen from here.

    Raises:
        SinkError: the sink can't be read from here, or the job is none of Latentmill's.
    """
    if SINK not in sent.metadata:
        raise SinkError("it was not submitted by `latentmill submit`", sent.id)
    sink = Store.at(sent.metadata[SINK])
    if not ledger.newest(sink.names(ledger.EPOCHS)):
        return None
    status = look(sink, exact)
    return status if datetime.fromisoformat(status.started) >= datetime.fromisoformat(sent.submitted) else None


def _entrypoint(order: Order, job: Job, relative: Mapping[str, str]) -> str:
    """The command that the cluster runs, in the folder of the job file or, for relative paths, in that of here."""
    changes = [*order.changes, *(f"{key}={json.dumps(str(Path(path).absolute()))}" for key, path in _models(job))]
    options = [*order.options, "--address", "auto", "--progress-lines", *(f"--set={change}" for change in changes)]
    run, name, rest = shlex.join([*PYTHON, "jobs", "run"]), shlex.quote(order.job_file.name), shlex.join(options)
    if relative:
        return f'cd {shlex.quote(str(Path.cwd()))} && exec {run} "$OLDPWD"/{name} {rest}'
    return f"exec {run} {name} {rest}"


def _installed(
    needed: Sequence[str], lacking: Mapping[str, str | None], packages: Packages, address: str
) -> dict[str, Any]:
    """How the runtime environment gets the packages.

    Raises:
        ClusterError: what the cluster must have itself is not there, or nothing is to be installed and something lacks.
    """
    unmet = {
        requirement: f"{requirement} ({f'there is {found}' if found else 'there is none'})"
        for requirement, found in lacking.items()
    }
    if own := [said for requirement, said in unmet.items() if Requirement(requirement).name in NEVER_INSTALLED]:
        raise ClusterError(f"the cluster needs {', '.join(own)}", address)
    if unmet and packages is Packages.IMAGE:
        raise ClusterError(
            f"the cluster lacks {', '.join(unmet.values())}; `--packages uv` installs the versions of here", address
        )
    if packages is Packages.AUTO:
        packages = Packages.UV if unmet else Packages.IMAGE
    return {} if packages is Packages.IMAGE else {packages.value: pinned(needed)}


def _sent(variables: Sequence[str]) -> dict[str, str]:
    """The variables that are sent with their values.

    Raises:
        SpecError: one seems to be a secret; everybody who sees the cluster's dashboard can read it.
    """
    given = dict(variable.split("=", 1) for variable in variables if "=" in variable)
    for name, value in given.items():
        where = f"--env {name}=..."
        if _SECRET.search(name):
            raise SpecError(
                f"this looks like a secret, which is never sent; {_SET_THERE}, and write --env {name}", where
            )
        refuse_credentials(value, where)
    return given


def _models(job: Job) -> list[tuple[str, str]]:
    """Models in folders by relative paths: workers start in another folder than the driver."""
    return [(key, path) for key, path in relative_paths(job).items() if key.startswith("steps.")]


def _extras(job: Job) -> list[str]:
    said = json.dumps(job.model_dump(mode="json"))
    return [extra for extra, words in _EXTRAS.items() if any(word in said for word in words)]
