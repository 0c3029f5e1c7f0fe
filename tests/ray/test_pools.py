"""Pools of actors on several nodes: where they are put, how many they are, and what becomes of them as nodes go."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from tests.faults import driving
from tests.faults.nodes import Nodes, ray_nodes
from tests.faults.sinks import Difference, found
from tests.ray.autoscaled import autoscaled
from tests.ray.datasets import files, rows
from tests.ray.witness import noted

ROOT = Path(__file__).parents[2]
_SECONDS = 200


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A node with two CPUs and a GPU; tests let more of them join."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        ray_nodes({}, Path(folder) / "nodes.log", nodes=1, cpus=2, gpus=1) as nodes,
    ):
        yield nodes


@pytest.fixture
def two_nodes(nodes: Nodes) -> Nodes:
    """The same, of at least two."""
    while len(nodes.ids) < 2:
        nodes.join()
    return nodes


@dataclass
class Run:
    """A job of steps that witness, as a process."""

    address: str
    folder: Path
    resources: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    rows: int = 4

    def __post_init__(self) -> None:
        self.sink = self.folder / "sink"
        steps = [{"folder": str(self.folder), "output": f"by_{n}", **step} for n, step in enumerate(self.steps)]
        asked = {"address": self.address, "sink": str(self.sink), "rows": self.rows, "resources": self.resources}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.ray.witnessed", json.dumps(asked | {"steps": steps})],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ends(self) -> str:
        """Wait for it; what it said if it was refused."""
        try:
            _, said = self.process.communicate(timeout=_SECONDS)
        finally:
            self.process.kill()
        if self.process.returncode:
            return said
        assert rows(self.sink)["row_id"].tolist() == [f"shapes#{n:06d}" for n in range(self.rows)]
        return ""

    def until(self, done: Callable[[], bool]) -> None:
        """Wait for something while it runs."""
        deadline = time.monotonic() + _SECONDS
        while not done():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def actors(self, step: str = "witness") -> list[dict[str, Any]]:
        return noted(self.folder / "actors" / step)

    def taken(self, step: str = "witness") -> list[dict[str, Any]]:
        return noted(self.folder / "rows" / step)

    def committed(self) -> int:
        return len(files(self.sink)["_latentmill/outcomes"])


def test_four_actors_of_a_quarter_share_a_card_and_none_waits_for_another_to_load(nodes: Nodes, tmp_path: Path) -> None:
    run = Run(nodes.address, tmp_path, {"witness": {"gpus": 0.25}}, [{"together": 4}])
    assert not run.ends()
    assert len({actor["process"] for actor in run.actors()}) == 4
    assert {(actor["node"], *actor["gpus"]) for actor in run.actors()} == {(nodes.ids[0], "0")}


def test_a_pool_grows_from_its_least_to_its_most_and_no_further(nodes: Nodes, tmp_path: Path) -> None:
    resources = {"witness": {"gpus": 0.25, "actors": {"min": 1, "initial": 1, "max": 2}}}
    run = Run(nodes.address, tmp_path, resources, [{"actors": 2, "seconds": 0.1}], rows=12)
    assert not run.ends()
    assert len(run.actors()) == 2


def test_what_can_never_fit_is_refused_in_one_line_before_anything_starts(nodes: Nodes, tmp_path: Path) -> None:
    run = Run(nodes.address, tmp_path, {"witness": {"gpus": 2}})
    assert run.ends() == (
        "an actor of witness needs 2 GPUs, and the most that a node has is 1; "
        "ask for less in `resources`, or run on a larger cluster\n"
    )
    assert not run.sink.exists()
    assert not run.actors()


@pytest.mark.long
def test_a_job_goes_on_as_nodes_join_and_go_and_all_its_actors_die(nodes: Nodes, tmp_path: Path) -> None:
    """From one node to three and back to one: a node is drained, one killed, and before that every actor."""
    options = {"rows": 20, "part_rows": 2, "gpus": 0.25, "actors": {"min": 1, "initial": 1, "max": 3}}

    def start(sink: str) -> BaseProcess:
        given = options | {"sink": str(tmp_path / sink)}
        return driving.start(driving.captioned_inverted_edited, given, nodes.address, {}, tmp_path / "log")

    def until(done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _SECONDS
        while not done():
            assert process.is_alive(), (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def committed(more: int) -> Callable[[], bool]:
        most = len(files(tmp_path / "run")["_latentmill/outcomes"]) + more
        return lambda: len(files(tmp_path / "run")["_latentmill/outcomes"]) >= most

    process = start("calm")
    process.join(_SECONDS)
    assert process.exitcode == 0, (tmp_path / "log").read_text()

    process = start("run")
    until(committed(1))
    nodes.join()
    nodes.join()
    until(committed(1))
    assert nodes.kill_all_workers() >= 4
    until(committed(1))
    nodes.drain(1, seconds=5)
    until(committed(1))
    nodes.leave(2)
    nodes.leave(1)
    process.join(_SECONDS)
    assert process.exitcode == 0, (tmp_path / "log").read_text()

    disk = LocalFileSystem()
    calm = found(disk, str(tmp_path / "calm"))
    assert len(calm.outcomes) == 20
    assert len(calm.pictures) > 20
    assert Difference.between(found(disk, str(tmp_path / "run")), calm) == Difference(0, 0, 0, 0)


@pytest.mark.long
def test_a_node_that_joins_is_used(nodes: Nodes, tmp_path: Path) -> None:
    resources = {"witness": {"gpus": 1, "cpus": 0.5, "actors": {"min": 1, "max": 2}}}
    run = Run(nodes.address, tmp_path, resources, [{"actors": 2}], rows=8)
    run.until(lambda: len(run.actors()) == 1)
    nodes.join()
    assert not run.ends()
    assert {actor["node"] for actor in run.actors()} == set(nodes.ids)


@pytest.mark.long
def test_actors_without_work_make_room_for_those_of_the_next_step(two_nodes: Nodes, tmp_path: Path) -> None:
    resources = {"default": {"gpus": 1, "cpus": 0.5, "actors": {"min": 1, "max": 2}}}
    run = Run(two_nodes.address, tmp_path, resources, [{}, {"actors": 2}])
    assert not run.ends()
    assert (len(run.actors("witness")), len(run.actors("witness-2"))) == (1, 2)


@pytest.mark.long
def test_a_node_that_is_taken_away_gets_no_more_rows_and_costs_those_in_flight(
    two_nodes: Nodes, tmp_path: Path
) -> None:
    resources = {"witness": {"gpus": 1, "cpus": 0.5, "actors": 2}}
    run = Run(two_nodes.address, tmp_path, resources, [{"seconds": 0.5, "actors": 2}], rows=40)
    run.until(lambda: run.committed() >= 2)
    two_nodes.drain(0, seconds=30)
    drained, told, before = two_nodes.ids[0], time.time(), run.committed()
    run.until(lambda: run.committed() >= before + 6)
    late = [row for row in run.taken() if row["node"] == drained and row["time"] > told]
    two_nodes.kill(0)
    assert not run.ends()
    assert len(late) <= 2
    assert len(run.taken()) - run.rows <= 4
    assert two_nodes.ids[0] in {actor["node"] for actor in run.actors()}


@pytest.mark.long
def test_an_autoscaler_brings_nodes_while_work_waits_and_takes_them_away_at_the_end(tmp_path: Path) -> None:
    """From none to two and back to none; what it can't bring is refused before anything starts."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        autoscaled(Path(folder), {"CPU": 3, "GPU": 1}, most=2) as cluster,
    ):
        refused = Run(cluster.address, tmp_path / "refused", {"witness": {"gpus": 2}})
        assert refused.ends().startswith(
            "an actor of witness needs 2 GPUs, and the most that a node has is 0, nor can the autoscaler bring one; "
        )
        assert cluster.nodes() == 0
        refused = Run(cluster.address, tmp_path / "many", {"witness": {"gpus": 1, "cpus": 0.25, "actors": 3}})
        assert refused.ends() == (
            "the least of all actors (witness 1 GPU, 0.25 CPU x 3) is more than there is and the autoscaler can bring; "
            "ask for less in `resources`, or let it have more nodes\n"
        )
        # Ray Data brings nodes by how fast rows come out, so they must come out on the first node alone.
        run = Run(cluster.address, tmp_path / "run", {"witness": {"gpus": 1, "cpus": 0.25}}, [{"seconds": 1}], rows=60)
        assert not run.ends()
        assert len({actor["node"] for actor in run.actors()}) == 2
        deadline = time.monotonic() + _SECONDS
        while cluster.nodes():
            assert time.monotonic() < deadline
            time.sleep(0.5)
