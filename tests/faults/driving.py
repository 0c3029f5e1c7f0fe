"""One start of a job in a process of its own, forked from one that has imported what takes long to import."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import ray.data  # noqa: F401 - imported before the fork
import s3fs  # noqa: F401 - imported before the fork

from jobs import Job
from jobs.runner import run
from operators.errors import UserError
from tests.faults.filtering import Thinned

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def captioned_edited_thinned(sink: str, rows: int, part_rows: int) -> Job:
    """Caption, edit (1 to 3), filter."""
    return Job(
        source={"uri": f"builtin:shapes?rows={rows}&seed=5", "columns": ["image", "shape"]},
        steps=[
            {"caption": {"max_new_tokens": 8}},
            {"edit": {"method": "img2img", "from": {"column": "shape"}, "to": ["star", "ring", "square"], "steps": 2}},
            Thinned(keep=60, with_edit=True),
        ],
        sink={"uri": sink, "part_rows": part_rows},
        resources={"default": {"cpus": 0.5, "threads": 1, "batch_rows": 6, "actors": 1}},
    )


def start(job: dict[str, Any], address: str, environment: dict[str, str], log: Path) -> BaseProcess:
    """Run the job; what it says is added to the log. Its exit code is that of the command line."""
    process = _context.Process(target=_drive, args=(job, address, environment, log))
    process.start()
    return process


def _drive(job: dict[str, Any], address: str, environment: dict[str, str], log: Path) -> None:
    os.setsid()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        run(captioned_edited_thinned(**job).plan(), address, beat_seconds=1.0)
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(2)
