"""Jobs that are disturbed in every way at random moments, and started again until they are done."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from tests.faults import driving
from tests.faults.nodes import Nodes, ray_nodes
from tests.faults.sinks import OUTCOMES, Difference, Found, Reader, found, looking
from tests.flaky import Fault, Flaky, Trouble, flaky
from tests.servers import KEY, SECRET, S3Server, s3_server

_STARTS = 20
_SECONDS = 600
_MENDED_EVERY = 10.0


class Kind(StrEnum):
    """What is done to a run."""

    DRIVER = "driver killed"
    WORKER = "worker killed"
    NODE = "node killed"
    STORE = "store killed and restarted"
    REFUSED = "puts refused with 503"
    CUT = "puts cut off half-way"


@dataclass
class Blow:
    """One fault: after so many of the run's requests to the store, and some seconds."""

    kind: Kind
    requests: int
    seconds: float
    hit: bool = False
    """Whether it came while the run was going on."""


@dataclass
class Told:
    """What became of one run."""

    run: int
    blows: list[Blow]
    starts: int
    seconds: float
    lost: int
    doubled: int
    altered: int
    orphans: int
    looks: int
    seen_doubled: int
    seen_short: int
    witness: list[Any] = field(default_factory=list)
    """Where a reader saw rows doubled."""


@dataclass
class Scene:
    """All that runs need: a store, a proxy before it, a cluster, and what an undisturbed run comes to."""

    nodes: Nodes
    server: S3Server
    proxy: Flaky
    folder: Path
    rows: int
    part_rows: int
    glance: float
    """Seconds between a reader's looks at the rows."""
    steps: Callable[[], list[Any]]
    calm: Found = field(init=False)
    requests: int = field(init=False)
    """What an undisturbed run asks of the store."""

    def __post_init__(self) -> None:
        self.bucket = self.server.new_bucket()
        self.environment = self.server.environment | {"AWS_ENDPOINT_URL": self.proxy.endpoint}

    def rest(self) -> float:
        """The undisturbed run; its seconds."""
        began = time.monotonic()
        sink = f"{self.bucket}/calm"
        process = self._start(sink)
        process.join(_SECONDS)
        if process.exitcode != 0:
            raise RuntimeError(f"the undisturbed run ended with {process.exitcode}: {self._said()}")
        self.calm, self.requests = self._found(sink), len(self.proxy.requests)
        return time.monotonic() - began

    def run(self, number: int, kinds: list[Kind], rng: random.Random) -> Told:
        """Run the job once, to its end, with a fault of each kind."""
        began, sink = time.monotonic(), f"{self.bucket}/run-{number:04d}"
        each = self.requests // (len(kinds) + 1)
        blows = [Blow(kind, rng.randint(0, each), rng.uniform(0, 0.3)) for kind in kinds]
        reader = Reader(self._arrow(), sink.removeprefix("s3://"))
        with looking(reader, self.glance):
            starts = self._through(sink, blows, rng)
        self.proxy.calm()
        differs = Difference.between(self._found(sink), self.calm)
        told = Told(
            number,
            blows,
            starts,
            round(time.monotonic() - began, 1),
            **asdict(differs),
            looks=reader.looks,
            seen_doubled=len(reader.doubled),
            seen_short=len(reader.missed),
            witness=reader.doubled[:1],
        )
        if not differs.lost + differs.doubled + differs.altered + differs.orphans:
            self.server.files().rm(sink.removeprefix("s3://"), recursive=True)
        return told

    def fails(self, sink: str, fault: Fault) -> tuple[int | None, str]:
        """Run the job into a fault that lasts from its first commit on; its exit code, and what it said of its sink.

        All of what it said, if it did not end as a job does that a user is to see to.
        """
        self.proxy.calm()
        first = len(self.proxy.requests)
        process = self._start(f"{self.bucket}/{sink}")
        while process.is_alive() and not self._commits(first):
            time.sleep(0.01)
        self.proxy.inject(fault)
        process.join(_SECONDS)
        self.proxy.calm()
        said = [line for line in self._said().splitlines() if self.bucket in line]
        return process.exitcode, said[-1] if process.exitcode == 2 else self._said()

    def _commits(self, first: int) -> bool:
        """Whether a part was committed since so many requests."""
        return any(method == "PUT" and OUTCOMES in path for method, path in self.proxy.requests[first:])

    def goes_on(self, sink: str) -> Difference:
        """Run the job to its end; how its rows differ then from an undisturbed run's."""
        uri = f"{self.bucket}/{sink}"
        if self._through(uri, [], random.Random(0)) != 1:
            raise RuntimeError(f"{uri} took more than one start: {self._said()}")
        return Difference.between(self._found(uri), self.calm)

    def _through(self, sink: str, blows: list[Blow], rng: random.Random) -> int:
        left, starts = list(blows), 0
        deadline = time.monotonic() + _SECONDS
        while starts < _STARTS:
            starts += 1
            self.proxy.calm()
            process = self._start(sink)
            while left and self._reached(left[0], process):
                blow = left.pop(0)
                blow.hit = self._strike(blow.kind, process, rng)
            while process.is_alive():
                if time.monotonic() > deadline:
                    process.kill()
                    raise RuntimeError(f"{sink} hangs: {self._said()}")
                process.join(_MENDED_EVERY)
                self.nodes.mend()
            if process.exitcode == 0:
                return starts
        raise RuntimeError(f"{sink} is not done after {_STARTS} starts: {self._said()}")

    def _reached(self, blow: Blow, process: BaseProcess) -> bool:
        """Wait for a fault's moment; False if the run ended before."""
        first = len(self.proxy.requests)
        while len(self.proxy.requests) - first < blow.requests and process.is_alive():
            time.sleep(0.01)
        time.sleep(blow.seconds)
        return process.is_alive()

    def _strike(self, kind: Kind, process: BaseProcess, rng: random.Random) -> bool:
        """False if there was nothing to strike."""
        match kind:
            case Kind.DRIVER:
                process.kill()
                process.join()
            case Kind.WORKER:
                return self.nodes.kill_worker(rng)
            case Kind.NODE:
                self.nodes.kill_node(rng)
            case Kind.STORE:
                self.server.kill()
                time.sleep(rng.uniform(0, 2))
                self.server.start()
            case Kind.REFUSED:
                self.proxy.inject(Fault(Trouble.STATUS, method="PUT", times=rng.randint(1, 12)))
            case Kind.CUT:
                trouble = rng.choice([Trouble.CUT_UPLOAD, Trouble.LOSE_ANSWER])
                self.proxy.inject(Fault(trouble, method="PUT", times=rng.randint(1, 12)))
        return True

    def _start(self, sink: str) -> BaseProcess:
        options = {"sink": sink, "rows": self.rows, "part_rows": self.part_rows}
        return driving.start(self.steps, options, self.nodes.address, self.environment, self.folder / "drivers.log")

    def _found(self, sink: str) -> Found:
        return found(self.server.files(), sink.removeprefix("s3://"))

    def _arrow(self) -> pafs.FileSystem:
        return pafs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            endpoint_override=self.server.endpoint,
            region="us-east-1",
            connect_timeout=1,
            request_timeout=2,
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1),
        )

    def _said(self) -> str:
        return (self.folder / "drivers.log").read_text(errors="replace")[-3000:]


@contextmanager
def scene(
    rows: int = 24,
    part_rows: int = 4,
    glance: float = 1.0,
    steps: Callable[[], list[Any]] = driving.captioned_edited_thinned,
    nodes: int = 2,
) -> Iterator[Scene]:
    """A store, a proxy and a cluster for as long as the block lasts."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with s3_server(folder) as server, flaky(server.endpoint) as proxy:
            environment = server.environment | {"AWS_ENDPOINT_URL": proxy.endpoint}
            with ray_nodes(environment, folder / "nodes.log", nodes) as cluster:
                yield Scene(cluster, server, proxy, folder, rows, part_rows, glance, steps)


def some_kinds(rng: random.Random, most: int = 3) -> list[Kind]:
    """What is to happen to a run, in this order."""
    return [rng.choice(list(Kind)) for _ in range(rng.randint(1, most))]


def as_json(told: Told) -> str:
    """One line."""
    return json.dumps(asdict(told))


def from_json(line: str) -> Told:
    """The same, read back."""
    told = json.loads(line)
    return Told(**told | {"blows": [Blow(**blow | {"kind": Kind(blow["kind"])}) for blow in told["blows"]]})
