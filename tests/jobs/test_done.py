from dataclasses import replace

import numpy as np
import pyarrow as pa

from jobs.sink.done import DoneRows


def outcomes(ids, outputs=1, rejects=0, attempt=1):
    columns = {"outputs": outputs, "rejects": rejects, "attempt": attempt}
    numbers = {name: pa.array(np.broadcast_to(value, len(ids)).astype(np.int32)) for name, value in columns.items()}
    return pa.table({"source_id": pa.array(ids, pa.string()), **numbers, "version": np.zeros(len(ids), np.int64)})


def asked(*ids):
    return pa.chunked_array([pa.array(ids, pa.string())])


def test_members_are_told_from_others():
    ids = [f"row-{n}" for n in range(1000)]
    done = DoneRows.of([outcomes(ids[:300]), outcomes(ids[300:500]), outcomes([])])
    assert len(done) == 500
    found = done.find(pa.chunked_array([ids[:7], ids[7:]]))
    assert (found >= 0).tolist() == [True] * 500 + [False] * 500
    assert len(set(found[:500].tolist())) == 500
    assert done.find(pa.chunked_array([], pa.string())).shape == (0,)
    assert DoneRows.of([]).find(asked("x")).tolist() == [-1]


def test_counts_are_of_the_rows_that_are_asked_for():
    done = DoneRows.of([outcomes(["a", "b", "c", "d"], outputs=[3, 0, 0, 2], rejects=[0, 0, 1, 1])])
    everything = done.find(asked("a", "b", "c", "d"))
    assert done.counts(everything) == {"rows": 4, "rejected": 2, "not_rejected": 6}
    assert done.counts(done.find(asked("b"))) == {"rows": 1, "rejected": 0, "not_rejected": 1}
    assert done.counts(done.find(asked())) == {"rows": 0, "rejected": 0, "not_rejected": 0}


def test_of_a_row_that_was_tried_again_the_outputs_add_up_and_the_newest_rejects_count():
    first = outcomes(["a", "b"], outputs=[2, 0], rejects=[1, 3])
    third = outcomes(["b"], outputs=2, rejects=0, attempt=3)
    second = outcomes(["b"], outputs=1, rejects=2, attempt=2)
    for order in ([first, second, third], [third, first, second]):
        done = DoneRows.of(order)
        assert len(done) == 2
        assert done.counts(done.find(asked("b"))) == {"rows": 1, "rejected": 0, "not_rejected": 3}
        assert done.counts(done.find(asked("a", "b"))) == {"rows": 2, "rejected": 1, "not_rejected": 5}


def test_ids_of_one_first_hash_are_told_apart_by_the_second():
    ids = [f"row-{n}" for n in range(6)]
    done = DoneRows.of([outcomes(ids[:3])])
    of_each = [DoneRows.of([outcomes([name])]) for name in ids]
    high, low = of_each[4].high, np.concatenate([one.low for one in of_each[:5]])
    clash = replace(done, high=np.repeat(high, 5), low=low, outputs=np.ones(5, int), rejects=np.zeros(5, int))
    assert clash.find(asked(ids[4], ids[5])).tolist() == [4, -1]
    assert replace(clash, high=clash.high[:4], low=clash.low[:4]).find(asked(ids[4])).tolist() == [-1]
