"""What actors get of a cluster, and what can never fit."""

from __future__ import annotations

import pytest

from cluster.resources import Actors, Capacity, Resources, place
from operators.errors import ResourceError

LAPTOP = Capacity(cpus=8, gpus=0, largest_node=8)
STATION = Capacity(cpus=16, gpus=2, largest_node=16)
HEAVY = {"caption", "invert", "edit"}


def test_an_actor_gets_the_largest_that_its_steps_ask_for() -> None:
    stage = {
        "invert": Resources(gpus=0.5, threads=3, actors=2, batch_rows=8, compile=True),
        "edit": Resources(gpus=1, cpus=2, threads=1, actors=Actors(min=1, max=4), batch_rows=4),
        "caption": Resources(),
    }
    (placed,) = place([stage], HEAVY, STATION)
    assert (placed.gpus, placed.cpus, placed.threads, placed.actors) == (1, 2, 3, Actors(min=2, max=4))
    assert [(step.step, step.batch_rows, step.compiled) for step in placed.steps] == [
        ("invert", 8, True),
        ("edit", 4, False),
        ("caption", 16, False),
    ]


def test_what_is_there_is_shared_by_actors_and_not_by_steps() -> None:
    fused = place([{"caption": Resources()}, {"invert": Resources(), "edit": Resources()}], HEAVY, LAPTOP)
    assert [placed.cpus for placed in fused] == [3.75, 3.75]
    apart = place([{step: Resources()} for step in ("caption", "invert", "edit")], HEAVY, LAPTOP)
    assert [placed.cpus for placed in apart] == [2.5, 2.5, 2.5]


@pytest.mark.parametrize(("actors", "share"), [(1, 1), (2, 0.66)])
def test_stages_with_models_share_the_gpus(actors: int, share: float) -> None:
    stages = [
        {"caption": Resources()},
        {"invert": Resources(actors=actors), "edit": Resources()},
        {"filter": Resources()},
    ]
    assert [placed.gpus for placed in place(stages, HEAVY, STATION)] == [share, share, 0]


def test_what_can_never_fit_names_the_steps() -> None:
    stages = [{"caption": Resources()}, {"invert": Resources(gpus=1, actors=2), "edit": Resources(gpus=2)}]
    with pytest.raises(ResourceError, match=r"need 5 GPUs at once \(caption 0.\d+ x 1, invert \+ edit 2 x 2\)|4\.\d+"):
        place(stages, HEAVY, STATION)
