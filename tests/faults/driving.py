"""One start of a job in a process of its own, forked from one that has imported what takes long to import."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import ray.data  # noqa: F401 - imported before the fork
import s3fs  # noqa: F401 - imported before the fork

from jobs import Job
from jobs.runner import run
from operators.errors import UserError
from tests.faults.filtering import Thinned
from tests.faults.painting import Painted

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def captioned_edited_thinned() -> list[Any]:
    """Caption, edit (1 to 3), filter."""
    edit = {"method": "img2img", "from": {"column": "shape"}, "to": ["star", "ring", "square"], "steps": 2}
    return [{"caption": {"max_new_tokens": 8}}, {"edit": edit}, Thinned(keep=60, with_edit=True)]


def captioned_inverted_edited() -> list[Any]:
    """Caption, invert, edit (1 to 2)."""
    edit = {"method": "diffedit", "from": {"column": "shape"}, "to": ["star", "ring"], "steps": 4}
    return [{"caption": {"max_new_tokens": 8}}, {"invert": {"steps": 4}}, {"edit": edit}]


def painted() -> list[Any]:
    """Paint over (1 to 3), without a model."""
    return [Painted(to=("star", "ring", "square"))]


def start(
    steps: Callable[[], list[Any]], options: dict[str, Any], address: str, environment: dict[str, str], log: Path
) -> BaseProcess:
    """Run a job of these steps; what it says is added to the log. Its exit code is that of the command line."""
    process = _context.Process(target=_drive, args=(steps, options, address, environment, log))
    process.start()
    return process


def _drive(
    steps: Callable[[], list[Any]], options: dict[str, Any], address: str, environment: dict[str, str], log: Path
) -> None:
    os.setsid()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        run(_job(steps(), **options).plan(), address, beat_seconds=1.0)
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(2)


def _job(steps: list[Any], sink: str, rows: int, part_rows: int, **resources: Any) -> Job:
    return Job(
        source={"uri": f"builtin:shapes?rows={rows}&seed=5", "columns": ["image", "shape"]},
        steps=steps,
        sink={"uri": sink, "part_rows": part_rows},
        resources={"default": {"cpus": 0.5, "threads": 1, "batch_rows": 6, "actors": 1} | resources},
    )
