"""Disturbed in every way, started again, and done: what an undisturbed run writes, no more and no less."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.faults import harness
from tests.faults.harness import Kind, Scene
from tests.faults.sinks import OUTCOMES, Difference
from tests.flaky import Fault, Trouble
from tests.servers import SECRET

PLOTS = [[Kind.WORKER, Kind.REFUSED, Kind.DRIVER], [Kind.NODE, Kind.CUT, Kind.STORE]]

LASTING = {
    "access is denied": Fault(Trouble.STATUS, status=403, code="InvalidAccessKeyId"),
    "there is no space left": Fault(Trouble.STATUS, status=507, code="XMinioStorageFull"),
    "there is no such bucket, or no longer": Fault(Trouble.STATUS, status=404, code="NoSuchBucket"),
}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with harness.scene(rows=16, part_rows=2, glance=0.2) as scene:
        scene.rest()
        yield scene


@pytest.mark.timeout(900)
def test_no_fault_loses_or_doubles_a_row(scene: Scene) -> None:
    assert len(scene.calm.outcomes) == 16
    assert {outcome for _, outcome, _, _ in scene.calm.outcomes} == {"ok", "filtered", "rejected"}
    hit = []
    for number, kinds in enumerate(PLOTS):
        told = scene.run(number, kinds, random.Random(number))
        assert (told.lost, told.doubled, told.altered, told.orphans) == (0, 0, 0, 0), told
        assert (told.seen_doubled, told.seen_short) == (0, 0), told
        assert told.looks
        hit += [blow.kind for blow in told.blows if blow.hit]
    assert len(set(hit)) >= 4


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "lasting", [["access is denied"], pytest.param(list(LASTING), marks=pytest.mark.long)], ids=["one", "all"]
)
def test_what_lasts_ends_a_job_in_one_line_and_the_next_start_goes_on(scene: Scene, lasting: list[str]) -> None:
    sink = f"lasting-{len(lasting)}"
    for line in lasting:
        fault = LASTING[line]
        fault.method, fault.path, fault.times = "PUT", OUTCOMES, 10**9
        code, said = scene.fails(sink, fault)
        assert code == 2, said
        assert said.startswith(f"{scene.bucket}/{sink}: {line}"), said
    assert scene.goes_on(sink) == Difference(lost=0, doubled=0, altered=0, orphans=0)


def test_the_secret_of_a_store_is_in_no_log(scene: Scene) -> None:
    logs = [file for file in scene.folder.glob("**/logs/**/*") if file.is_file()]
    assert any(file.name.startswith("worker-") for file in logs)
    logs.append(scene.folder / "drivers.log")
    assert [file for file in logs if SECRET.encode() in file.read_bytes()] == []
