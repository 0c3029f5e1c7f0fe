"""Paths that a job names on the file system of where it runs, which elsewhere may be another one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jobs.spec import Job
from operators.controls import ControlSpec
from operators.errors import ModelError, SinkError, SourceError, UserError
from operators.models.ref import ModelRef, Origin

_ERRORS: dict[str, type[UserError]] = {"source": SourceError, "sink": SinkError, "steps": ModelError}
"""The error that a key's path is about, by the key's first word."""


def local_paths(job: Job) -> Iterator[tuple[str, str]]:
    """Paths of source, sink and models, each with the key of the job file that names it."""
    for key, uri in (("source.uri", getattr(job.source, "uri", "")), ("sink.uri", job.sink.uri)):
        if uri and not re.match(r"\w[\w+.-]*:", uri):
            yield key, uri
    for at, step in enumerate(job.steps):
        yield from _folders(step, f"steps.{at}.{step.kind}")


def relative_paths(job: Job) -> dict[str, str]:
    """Those of them that start at the folder that one is in."""
    return {key: path for key, path in local_paths(job) if not Path(path).is_absolute()}


def refuse_home(job: Job) -> None:
    """Refuse paths that begin with ``~``.

    Raises:
        UserError: there is one.
    """
    for key, path in local_paths(job):
        if path.startswith("~"):
            raise _about(key, "`~` is another folder on the cluster; write the whole path")


def refuse_relative(job: Job, why: str) -> None:
    """Refuse relative paths.

    Args:
        job: the job.
        why: the reason, which ends the sentence "it is a relative path, and ...".

    Raises:
        UserError: there is one.
    """
    for key, path in relative_paths(job).items():
        whole = "write a URI, as s3://bucket/folder, or a whole path that the cluster's nodes have"
        raise _about(key, f"{path!r} is a relative path, and {why}; {whole}")


def _about(key: str, message: str) -> UserError:
    return _ERRORS[key.partition(".")[0]](message, key)


def _folders(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Models that are folders, anywhere in the options of a step."""
    if isinstance(value, ModelRef) and value.origin is Origin.FOLDER:
        yield key, str(value)
    elif isinstance(value, BaseModel):
        for name, option in value:
            yield from _folders(option, f"{key}.{name}")
    elif isinstance(value, tuple):
        for at, one in enumerate(value):
            yield from _folders(one, f"{key}.{at}.{one.kind}" if isinstance(one, ControlSpec) else f"{key}.{at}")
