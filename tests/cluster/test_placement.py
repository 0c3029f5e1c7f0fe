"""What actors get of a cluster, how many there are, and what can never fit."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.capacity import Capacity, Group, Node
from cluster.placement import Placement, Pool, place, wanted_nodes
from cluster.resources import Actors, Resources
from operators.errors import ResourceError

LAPTOP = Capacity.of(Node(cpus=8, memory=16))
STATION = Capacity.of(Node(cpus=16, gpus=2, memory=64))
FARM = Capacity.of(*[Node(cpus=8, memory=32)] * 4)
A100, T4 = Node(32, 8, 256, ("A100",)), Node(8, 1, 32, ("T4",))
EMPTY = Capacity((Group(Node(cpus=0, memory=8), 1, 1), Group(A100, 0, 2), Group(T4, 0, 3)), grows=True)
"""A head alone, and an autoscaler that can bring two nodes with eight cards and three with one."""
HEAVY = {"caption", "invert", "edit"}


def placed(capacity: Capacity, *stages: dict[str, Resources]) -> list[Placement]:
    return place(stages, HEAVY, capacity)


def alone(capacity: Capacity, **asked: Any) -> Placement:
    (one,) = placed(capacity, {"caption": Resources(**asked)})
    return one


def refusal(capacity: Capacity, *stages: dict[str, Resources]) -> str:
    with pytest.raises(ResourceError) as caught:
        placed(capacity, *stages)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_actor_gets_the_largest_that_its_steps_ask_for() -> None:
    stage = {
        "invert": Resources(gpus=0.5, threads=3, actors=2, batch_rows=8, compile=True, memory=20),
        "edit": Resources(gpus=1, cpus=2, threads=1, actors=Actors(min=1, max=4), batch_rows=4),
        "caption": Resources(memory=4),
    }
    (one,) = placed(STATION, stage)
    assert (one.gpus, one.cpus, one.threads, one.memory, one.actors) == (1, 2, 3, 20, Pool(min=2, initial=2, max=4))
    assert [(step.step, step.batch_rows, step.compiled) for step in one.steps] == [
        ("invert", 8, True),
        ("edit", 4, False),
        ("caption", 16, False),
    ]


def test_one_actor_cannot_have_accelerators_of_two_types() -> None:
    stage = {"invert": Resources(accelerator_type="A100"), "edit": Resources(accelerator_type="T4")}
    assert refusal(EMPTY, stage).startswith("invert + edit share an actor, which can't have accelerators of type A100")


def test_the_processors_of_a_node_are_shared_by_actors_and_not_by_steps() -> None:
    fused = placed(LAPTOP, {"caption": Resources()}, {"invert": Resources(), "edit": Resources()})
    assert [each.cpus for each in fused] == [3.75, 3.75]
    apart = placed(LAPTOP, *({step: Resources()} for step in ("caption", "invert", "edit")))
    assert [each.cpus for each in apart] == [2.5, 2.5, 2.5]
    assert {each.actors for each in fused + apart} == {Pool(min=1, initial=1, max=1)}


def test_without_gpus_a_node_has_one_actor_with_all_its_threads() -> None:
    one = alone(FARM)
    assert (one.cpus, one.threads, one.actors) == (7.5, 7, Pool(min=1, initial=4, max=4))


@pytest.mark.parametrize(("actors", "cpus"), [(4, 7.5), (5, 3.75), (8, 3.75), (9, 2.5)])
def test_as_few_actors_share_a_node_as_will_do(actors: int, cpus: float) -> None:
    one = alone(FARM, actors=actors)
    assert (one.cpus, one.actors) == (cpus, Pool(min=actors, initial=actors, max=actors))


def test_a_step_without_models_grows_where_work_waits_and_one_with_models_takes_no_more_memory() -> None:
    captioning, filtering = placed(LAPTOP, {"caption": Resources(threads=2, cpus=2)}, {"filter": Resources()})
    assert captioning.actors == Pool(min=1, initial=1, max=1)
    assert (filtering.cpus, filtering.actors) == (1, Pool(min=1, initial=1, max=5))
    assert alone(LAPTOP, cpus=2, actors={"max": 3}).actors == Pool(min=1, initial=3, max=3)


@pytest.mark.parametrize(("actors", "share"), [(1, 1), (2, 0.5), (3, 0.5), (4, 0.33)])
def test_stages_with_models_share_cards_in_equal_parts(actors: int, share: float) -> None:
    stages = [
        {"caption": Resources()},
        {"invert": Resources(actors=actors), "edit": Resources()},
        {"filter": Resources()},
    ]
    assert [each.gpus for each in placed(STATION, *stages)] == [share, share, 0]


def test_every_card_has_an_actor() -> None:
    assert alone(Capacity.of(A100)).actors == Pool(min=1, initial=8, max=8)
    assert alone(Capacity.of(A100, T4, T4)).actors == Pool(min=1, initial=10, max=10)
    poor = alone(Capacity.of(Node(cpus=4, gpus=8)))
    assert (poor.cpus, poor.actors.max) == (0.43, 8)


def test_stages_start_with_an_equal_number_each_and_may_grow_to_all_but_the_least_of_the_others() -> None:
    captioning, editing, filtering = placed(
        Capacity.of(A100), {"caption": Resources()}, {"edit": Resources()}, {"filter": Resources()}
    )
    assert captioning.actors == editing.actors == Pool(min=1, initial=4, max=7)
    assert filtering.actors == Pool(min=1, initial=1, max=29)


@pytest.mark.parametrize(
    ("taken", "share", "most"),
    [(0.05, 0.25, 8), (0.2, 0.25, 8), (0.21, 0.5, 4), (0.41, 0.5, 4), (0.42, 1, 2), (1, 1, 2)],
)
def test_actors_that_were_measured_to_need_little_share_a_card(taken: float, share: float, most: int) -> None:
    (one,) = place([{"invert": Resources(), "edit": Resources()}], HEAVY, STATION, {"invert": 0.01, "edit": taken})
    assert (one.gpus, one.actors) == (share, Pool(min=1, initial=most, max=most))
    (asked,) = place([{"edit": Resources(gpus=1)}], HEAVY, STATION, {"edit": taken})
    assert asked.gpus == 1


def test_measured_shares_are_no_larger_than_what_all_can_have() -> None:
    card, stages = Capacity.of(Node(cpus=8, gpus=1)), [{"caption": Resources()}, {"edit": Resources()}]
    assert [each.gpus for each in place(stages, HEAVY, card, {"caption": 0.1, "edit": 0.9})] == [0.25, 0.5]
    assert [each.gpus for each in place(stages, HEAVY, card, {"edit": 0.1})] == [0.5, 0.25]


def test_quarters_pack_four_to_a_card_and_no_share_lies_on_two_cards() -> None:
    assert alone(STATION, gpus=0.25).actors.max == 8
    assert alone(STATION, gpus=0.6).actors.max == 2
    assert alone(Capacity.of(*[T4] * 3), gpus=0.33).actors.max == 9


def test_least_and_most_are_respected() -> None:
    assert alone(STATION, gpus=0.25, actors={"min": 2, "max": 3}).actors == Pool(min=2, initial=3, max=3)
    assert alone(STATION, gpus=0.25, actors={"min": 2}).actors == Pool(min=2, initial=8, max=8)
    assert alone(STATION, gpus=0.25, actors={"initial": 2}).actors == Pool(min=1, initial=2, max=8)
    assert alone(STATION, gpus=0.25, actors={"min": 1, "initial": 1, "max": 20}).actors.max == 20


def test_what_the_autoscaler_may_add_counts_but_is_not_waited_for() -> None:
    assert alone(EMPTY).actors == Pool(min=1, initial=1, max=19)
    assert alone(EMPTY, gpus=8).actors == Pool(min=1, initial=1, max=2)
    assert alone(EMPTY, accelerator_type="T4").actors.max == 3
    assert alone(EMPTY, memory=200).actors.max == 2
    some = Capacity((Group(T4, 1, 1), Group(T4, 0, 4)))
    assert alone(some).actors == Pool(min=1, initial=1, max=5)


def test_nodes_are_wanted_for_actors_that_no_node_holds() -> None:
    stages = [{"caption": Resources()}, {"edit": Resources(gpus=0.5, cpus=2, memory=20)}, {"filter": Resources()}]
    assert wanted_nodes(stages, HEAVY, Capacity.of(A100)) == []
    assert wanted_nodes(stages, HEAVY, LAPTOP) == [Node(1.5, 1), Node(2.5, 1, 20)]
    head = Capacity.of(Node(cpus=0, memory=8))
    assert wanted_nodes(stages, HEAVY, head) == [Node(1.5, 1), Node(2.5, 1, 20), Node(1.5)]
    typed = [{"edit": Resources(accelerator_type="A100")}]
    assert wanted_nodes(typed, HEAVY, Capacity.of(T4)) == [Node(1.5, 1, 0, ("A100",))]


def test_an_autoscaler_has_more_of_what_it_can_bring_but_no_second_head() -> None:
    head, there = Group(Node(4, memory=16), 1, 1, head=True), Group(T4, 2, 2)
    grown = Capacity((head, there)).grown([Node(1.5, 1, 0, ("A100",))], 10)
    assert [(group.count, group.most) for group in grown.groups] == [(1, 1), (2, 10), (0, 10)]
    assert alone(grown).actors == Pool(min=1, initial=2, max=20)
    assert alone(grown, accelerator_type="A100").actors == Pool(min=1, initial=1, max=10)
    as_it_is = Capacity((head, there)).grown([], 1)
    assert [(group.count, group.most) for group in as_it_is.groups] == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("capacity", "asked", "said"),
    [
        (LAPTOP, {"gpus": 1}, "an actor of caption needs 1 GPU, and the most that a node has is 0; "),
        (STATION, {"gpus": 4}, "an actor of caption needs 4 GPUs, and the most that a node has is 2; "),
        (FARM, {"cpus": 9}, "an actor of caption needs 9 CPUs, and the most that a node has is 8; "),
        (FARM, {"memory": 64}, "needs 64 GiB of memory, and the most that a node has is 32; "),
        (LAPTOP, {"accelerator_type": "A100"}, "needs an accelerator of type A100, and there is none; "),
        (
            EMPTY,
            {"accelerator_type": "H100"},
            "needs an accelerator of type H100, and there is A100, T4, nor can the autoscaler bring one; ",
        ),
        (
            LAPTOP,
            {"memory": 64, "gpus": 0.5},
            "0.5 GPU, and the most that a node has is 0; and 64 GiB of memory, and the most that a node has is 16",
        ),
        (
            EMPTY,
            {"gpus": 2, "accelerator_type": "T4"},
            "needs 2 GPUs, an accelerator of type T4 together, which no node has, nor can the autoscaler bring one; ",
        ),
    ],
)
def test_an_actor_that_fits_on_no_node_is_refused_with_what_is_missing(
    capacity: Capacity, asked: dict[str, Any], said: str
) -> None:
    told = refusal(capacity, {"caption": Resources(**asked)})
    assert said in told
    assert told.endswith("ask for less in `resources`, or run on a larger cluster")


def test_actors_that_can_never_run_at_once_are_refused_with_the_sums() -> None:
    stages = [{"caption": Resources(gpus=1)}, {"invert": Resources(gpus=1, actors=2), "edit": Resources(gpus=2)}]
    assert refusal(STATION, *stages).startswith(
        "the job needs 5 GPUs at once (caption 1 x 1, invert + edit 2 x 2) and there are 2; "
    )
    assert refusal(LAPTOP, {"caption": Resources(actors=500, cpus=0.1)}).startswith(
        "the job needs 50.5 CPUs at once (caption 0.1 x 500, reading and writing 0.25 x 2) and there are 8; "
    )
    assert refusal(LAPTOP, {"caption": Resources(actors=3, memory=6)}).startswith(
        "the job needs 18 GiB of memory at once (caption 6 x 3) and there are 16; "
    )
    assert refusal(Capacity.of(Node(cpus=0))).startswith(
        "the job needs 0.5 CPUs at once (reading and writing 0.25 x 2)"
    )


def test_actors_that_fit_in_sum_but_not_side_by_side_are_refused() -> None:
    assert refusal(STATION, {"caption": Resources(gpus=0.6, actors=3)}).startswith(
        "the steps' actors (caption x 3: 0.6 GPU, 1 CPU) fit on no nodes side by side; "
    )
    assert "fit on no nodes side by side" in refusal(FARM, {"caption": Resources(cpus=5, actors=5)})
