"""A generation of rows in the place of another: whole, wherever the switch is cut off."""

from __future__ import annotations

import pytest

from jobs.sink import ledger, switch
from jobs.sink.ledger import FOLDERS, Mode, Start
from jobs.sources.files import list_files
from jobs.stores.store import Store
from operators.errors import SinkError
from tests.jobs.failing import Failing, PowerCutError, Supply

OLD, NEW = "plan of old", "plan of new"


@pytest.fixture(params=["local", "memory"])
def new_store(request, tmp_path):
    def made(name):
        return Store(str(tmp_path / name) if request.param == "local" else f"memory://{tmp_path.name}/{name}")

    return made


def begun(sink, run_id, fingerprint, mode=Mode.RUN):
    start = Start(run_id, fingerprint, mode)
    epoch = ledger.claim(sink, start, ledger.check(sink, start))
    switch.finish(epoch)
    ledger.settle(epoch, start)
    return epoch


def write(epoch, digests):
    """Commit parts; every other one has rejects, one has no rows."""
    for at, digest in enumerate(digests):
        rejects = digest.encode() if at % 2 else None
        name = epoch.part_name(digest, "0" * 8)
        if at:
            epoch.store.put(f"data/{name}", f"{epoch.run_id} {digest}".encode())
        epoch.commit(name, rejects, digest.encode())


def contents(store):
    return {
        f"{folder}/{name.split('-')[-1]}": store.get(f"{folder}/{name}")
        for folder in FOLDERS
        for name in store.names(folder)
    }


def visible(sink):
    """What the sink is as a source of another job."""
    return sorted(file.read().decode() for file in list_files(sink.uri).files)


def with_two_generations(sink):
    """A sink with old rows and, complete, the new ones; and what a dead run of the old plan wrote late."""
    write(begun(sink, "old", OLD), ["a1", "a2", "a3"])
    epoch = begun(sink, "new", NEW, Mode.OVERWRITE)
    write(epoch, ["b1", "b2", "b3", "b4"])
    ledger.close(epoch)
    return epoch


def rows(run_id, *digests):
    return [f"{run_id} {digest}" for digest in digests]


ALL_OLD, ALL_NEW = rows("old", "a2", "a3"), rows("new", "b2", "b3", "b4")


def test_old_rows_stay_as_they_are_until_the_switch(new_store):
    sink = new_store("sink")
    write(begun(sink, "old", OLD), ["a1", "a2", "a3"])
    before = contents(sink)
    write(begun(sink, "new", NEW, Mode.OVERWRITE), ["b1", "b2"])
    assert contents(sink) == before
    assert visible(sink) == ALL_OLD


def test_after_the_switch_only_new_rows_are_there(new_store):
    sink = new_store("sink")
    epoch = with_two_generations(sink)
    following = contents(epoch.store)
    switch.switch(epoch)
    assert contents(sink) == following
    assert visible(sink) == ALL_NEW
    assert contents(epoch.store) == {}
    assert sink.get(ledger.SWITCH) is None
    assert ledger.in_force(sink) == epoch.number


def changes_of_a_switch(sink):
    supply = Supply(1000)
    epoch = with_two_generations(Failing(sink.uri, supply))
    supply.left = 1000
    switch.switch(epoch)
    return 1000 - supply.left


def test_a_switch_that_is_cut_off_anywhere_is_all_old_or_all_new_and_is_finished(new_store):
    total = changes_of_a_switch(new_store("undisturbed"))
    assert total > 20
    for power in range(total):
        sink, supply = new_store(f"cut-{power}"), Supply(1000)
        epoch = with_two_generations(Failing(sink.uri, supply))
        old, new = contents(sink), contents(epoch.store)
        supply.left = power
        with pytest.raises(PowerCutError):
            switch.switch(epoch)
        switched = power > 0
        assert visible(sink) == (ALL_NEW if switched else ALL_OLD), power
        begun(sink, "later", NEW if switched else OLD)
        assert contents(sink) == (new if switched else old), power
        assert visible(sink) == (ALL_NEW if switched else ALL_OLD), power
        assert sink.get(ledger.SWITCH) is None
        assert contents(ledger.next_generation(sink)) == ({} if switched else new)


def test_the_end_of_a_switch_may_be_cut_off_again_and_again(new_store):
    sink = new_store("sink")
    epoch = with_two_generations(Failing(sink.uri, Supply(1000)))
    new = contents(epoch.store)
    powers = iter(range(1, 1000))
    epoch.sink.supply.left = next(powers)
    cuts = 0
    while True:
        try:
            (switch.finish if cuts else switch.switch)(epoch)
            break
        except PowerCutError:
            cuts += 1
            assert visible(sink) == ALL_NEW
            epoch.sink.supply.left = next(powers)
    assert cuts > 3
    assert contents(sink) == new


def test_an_overwriting_run_that_was_killed_goes_on_where_it_stopped(new_store):
    sink = new_store("sink")
    write(begun(sink, "old", OLD), ["a1", "a2", "a3"])
    write(begun(sink, "first", NEW, Mode.OVERWRITE), ["b1", "b2"])
    second = begun(sink, "second", NEW, Mode.OVERWRITE)
    assert len(ledger.committed(second.store)) == 2
    write(second, ["b3", "b4"])
    ledger.close(second)
    switch.switch(second)
    assert visible(sink) == sorted([*rows("first", "b2"), *rows("second", "b4")])


def test_the_old_plan_may_go_on_meanwhile_and_the_overwriting_run_after_it(new_store):
    sink = new_store("sink")
    write(begun(sink, "old", OLD), ["a1", "a2"])
    write(begun(sink, "first", NEW, Mode.OVERWRITE), ["b1", "b2"])
    with pytest.raises(SinkError, match="another plan"):
        begun(sink, "new", NEW)
    write(begun(sink, "more", OLD), ["a3", "a4"])
    assert visible(sink) == sorted([*rows("old", "a2"), *rows("more", "a4")])
    epoch = begun(sink, "second", NEW, Mode.OVERWRITE)
    assert len(ledger.committed(epoch.store)) == 2
    ledger.close(epoch)
    switch.switch(epoch)
    assert visible(sink) == rows("first", "b2")


def test_parts_of_a_third_plan_are_not_gone_on_with(new_store):
    sink = new_store("sink")
    write(begun(sink, "first", NEW, Mode.OVERWRITE), ["b1", "b2"])
    epoch = begun(sink, "second", "another plan", Mode.OVERWRITE)
    assert contents(epoch.store) == {}


def test_the_same_plan_once_more_makes_everything_anew(new_store):
    sink = new_store("sink")
    epoch = with_two_generations(sink)
    switch.switch(epoch)
    again = begun(sink, "again", NEW, Mode.OVERWRITE)
    assert ledger.committed(again.store) == []


def test_what_workers_of_the_old_plan_write_after_the_switch_does_not_count(new_store):
    sink = new_store("sink")
    old = begun(sink, "old", OLD)
    write(old, ["a1"])
    epoch = begun(sink, "new", NEW, Mode.OVERWRITE)
    write(epoch, ["b1", "b2"])
    switch.switch(epoch)
    late = old.part_name("a9", "0" * 8)
    for folder in FOLDERS:
        sink.put(f"{folder}/{late}", b"late")
    counting = contents(sink).keys() - {f"{folder}/a9.parquet" for folder in FOLDERS}
    assert late not in ledger.committed(sink)
    begun(sink, "later", NEW)
    assert contents(sink).keys() == counting


def test_a_run_that_was_overtaken_does_not_switch(new_store):
    sink = new_store("sink")
    epoch = with_two_generations(sink)
    begun(sink, "later", OLD)
    with pytest.raises(SinkError, match="another run has taken over"):
        switch.switch(epoch)
    assert visible(sink) == ALL_OLD


def test_a_switch_that_came_after_a_later_run_began_is_void(new_store):
    sink = new_store("sink")
    epoch = with_two_generations(sink)
    begun(sink, "later", OLD)
    sink.put(ledger.SWITCH, b'{"epoch": %d, "parts": []}' % epoch.number)
    begun(sink, "last", OLD)
    assert visible(sink) == ALL_OLD
    assert sink.get(ledger.SWITCH) is None
