"""Jobs on a Ray cluster elsewhere, over its Jobs API."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.environment import copy_code
from operators.errors import ClusterError

PYTHON = ("python3", "-P", "-m")
"""How a module is started on a cluster: ``-P``, since the folder that it starts in may hold other code of that name."""

_CONNECTING, _ANSWERING = 10.0, 120.0
"""Seconds without a word from the cluster after which a request has failed."""

_PREFLIGHT = 300.0
"""Seconds in which a cluster says what it has."""

_PATIENCE = 60.0
"""Seconds for which a log that broke off is tried again."""

_POLL = 0.5

_USED = "already exists"
"""What Ray says of an id that was used."""

_PREFIX = re.compile(r"^(?:[\w.]*Error: |Request failed with status code \d+: )+")


@dataclass(frozen=True)
class Submission:
    """A job that was submitted, as Ray sees it."""

    id: str
    state: str
    """``pending``, ``running``, ``succeeded``, ``failed`` or ``stopped``."""
    message: str
    """Ray's own words on it."""
    exit_code: int | None
    """Of the job's process, if it came to its end by itself."""
    submitted: str
    metadata: Mapping[str, str]

    @property
    def ended(self) -> bool:
        """Whether it will do nothing more."""
        return self.state in ("succeeded", "failed", "stopped")

    def as_json(self) -> dict[str, Any]:
        """What is known of it, by name."""
        return asdict(self)


class RayJobs:
    """The jobs of one cluster.

    Args:
        address: of its dashboard, as in ``http://head:8265``.

    Raises:
        ClusterError: it can't be reached or refuses; so do all methods.
    """

    def __init__(self, address: str) -> None:
        scheme, _, host = address.partition("://")
        if scheme not in ("http", "https") or not host:
            raise ClusterError("write the address of the cluster's dashboard, as http://head:8265", address)
        self.address = address.rstrip("/")
        with self._explained():
            self._client = _client(self.address)

    def submit(
        self, submission_id: str, entrypoint: str, runtime_env: Mapping[str, Any], metadata: Mapping[str, str]
    ) -> None:
        """Start a job; arguments as in Ray's own client.

        Raises:
            ClusterError: there is a job of this id.
        """
        try:
            with self._explained():
                self._client.submit_job(
                    submission_id=submission_id,
                    entrypoint=entrypoint,
                    runtime_env=dict(runtime_env),
                    metadata=dict(metadata),
                )
        except ClusterError as error:
            if _USED not in error.message:
                raise
            raise ClusterError(
                f"there is a job {submission_id} already, which `latentmill status` tells of; give another `--id`",
                self.address,
            ) from error

    def find(self, submission_id: str) -> Submission:
        """What Ray knows of a job.

        Raises:
            ClusterError: there is none of this id.
        """
        with self._explained():
            told = self._client.get_job_info(submission_id)
        return Submission(
            submission_id,
            str(told.status).lower(),
            told.message or "",
            told.driver_exit_code,
            datetime.fromtimestamp((told.start_time or 0) / 1000, UTC).isoformat(),
            told.metadata or {},
        )

    def logs(self, submission_id: str) -> str:
        """All that a job has printed; errors as in :meth:`find`."""
        with self._explained():
            return str(self._client.get_job_logs(submission_id))

    def follow(self, submission_id: str, write: Callable[[str], object]) -> Submission:
        """Hand on what a job prints, from its beginning to its end; a connection that breaks is made anew.

        Raises:
            ClusterError: there is no job of this id; or no connection can be made any more, and the job goes on.
        """
        log = _Log(write)
        found = self.find(submission_id)
        while not found.ended:
            try:
                asyncio.run(log.tail(self._client, submission_id))
                found = self.find(submission_id)
            except _broken() as error:
                if time.monotonic() - log.heard > _PATIENCE:
                    raise ClusterError(
                        f"the connection is lost, and the job goes on ({error})", self.address
                    ) from error
                time.sleep(_POLL)
        log.replay(self.logs(submission_id))
        return found

    def stop(self, submission_id: str) -> Submission:
        """End a job as SIGTERM does, and wait until it has ended; errors as in :meth:`find`."""
        with self._explained():
            self._client.stop_job(submission_id)
        return self._ended(submission_id)

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Have :func:`cluster.preflight.answer` look around on the head node, in a job of some seconds.

        Raises:
            ClusterError: it gives no answer.
        """
        submission_id = f"latentmill-preflight-{secrets.token_hex(4)}"
        with tempfile.TemporaryDirectory() as folder:
            entrypoint = shlex.join([*PYTHON, "cluster.preflight", json.dumps(question)])
            self.submit(submission_id, entrypoint, {"py_modules": copy_code(Path(folder), ["cluster"])}, {})
        found = self._ended(submission_id, _PREFLIGHT)
        lines = self.logs(submission_id).splitlines() or [found.message]
        if not found.ended:
            self._client.stop_job(submission_id)
            lines = [f"no answer for {_PREFLIGHT:.0f} seconds"]
        if found.state != "succeeded":
            raise ClusterError(
                f"the cluster was asked what it has, and the answer is: {lines[-1]}; `--unchecked` doesn't ask",
                self.address,
            )
        with self._explained():
            self._client.delete_job(submission_id)
        return dict(json.loads(lines[-1]))

    def _ended(self, submission_id: str, seconds: float = float("inf")) -> Submission:
        """A job as it is at its end, or when time is up."""
        deadline = time.monotonic() + seconds
        while not (found := self.find(submission_id)).ended and time.monotonic() < deadline:
            time.sleep(_POLL)
        return found

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what Ray's client raises into one line."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise ClusterError(
                "access is refused; set RAY_AUTH_MODE=token here, and RAY_AUTH_TOKEN to the cluster's token",
                self.address,
            ) from error
        except (KeyError, OSError) as error:
            raise ClusterError(
                "no Ray dashboard answers here; check host and port (8265 unless set otherwise)", self.address
            ) from error
        except RuntimeError as error:
            raise ClusterError(_reason(str(error)), self.address) from error


class _Log:
    """What a job prints: each piece once, though every connection begins with the first."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._written = 0
        self.heard = time.monotonic()

    async def tail(self, client: Any, submission_id: str) -> None:
        """Write what comes until the connection ends."""
        at = 0
        async for text in client.tail_job_logs(submission_id):
            self.heard = time.monotonic()
            self._write_from(at, text)
            at += len(text)

    def replay(self, text: str) -> None:
        """Write what is missing of the whole."""
        self._write_from(0, text)

    def _write_from(self, at: int, text: str) -> None:
        new = text[max(self._written - at, 0) :]
        if new:
            self._write(new)
            self._written = at + len(text)


def _client(address: str) -> Any:
    """Ray's client, which would wait for ever for an answer."""
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]  # Ray's packages have no types
        def _do_request(self, *arguments: Any, **options: Any) -> Any:
            return super()._do_request(*arguments, timeout=(_CONNECTING, _ANSWERING), **options)

    return Client(address)


def _broken() -> tuple[type[Exception], ...]:
    """What following a log raises when the connection breaks."""
    from aiohttp import ClientError

    return ClientError, ClusterError, OSError, RuntimeError


def _reason(said: str) -> str:
    """What a failed request is about: of a traceback, its last line."""
    lines = [line for line in said.splitlines() if line.strip(" .")] or ["the request failed"]
    return _PREFIX.sub("", lines[-1]).rstrip(".")
