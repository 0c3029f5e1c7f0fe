"""Rejected rows tried again, by the readers and writers that a run uses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from jobs.retry import plan_again
from jobs.sink import ledger
from jobs.sink.ledger import DATA, OUTCOMES, REJECTS, Mode
from jobs.sink.recall import Recall
from jobs.sink.seen import Seen
from jobs.sink.tally import tally
from jobs.status import look
from jobs.stores.store import Store
from jobs.verify import verify
from operators import columns
from operators.errors import SinkError, UserError
from tests.jobs.failing import Failing, PowerCutError, Supply
from tests.jobs.sinks import begun, done, job, retried
from tests.jobs.steps import Fragile

SAME = ["row_id", "source_id", "source_uri", "content_hash", "row_seed", "plan_fingerprint", "n", "drawn"]


@pytest.fixture
def sink(tmp_path):
    return tmp_path / "sink"


@pytest.fixture
def broken(tmp_path):
    """A folder that says which rows fail."""
    folder = tmp_path / "broken"
    folder.mkdir()
    return folder


def spoil(broken, code, *row_ids):
    for row_id in row_ids:
        (broken / row_id.replace("/", "+")).write_text(code)


def mend(broken, *row_ids):
    for row_id in row_ids:
        (broken / row_id.replace("/", "+")).unlink()


def frame(sink, folder=DATA):
    paths = sorted(str(path) for path in (sink / folder).glob("*.parquet"))
    if not paths:
        return pd.DataFrame(columns=["row_id", "_error_code", "_error_attempt"])
    return pads.dataset(paths).to_table().to_pandas().sort_values("row_id").reset_index(drop=True)


def rejected(sink):
    """Ids of rejected rows, with code and attempt."""
    rows = frame(sink, REJECTS)
    return list(zip(rows["row_id"], rows["_error_code"], rows["_error_attempt"], strict=True))


def outcomes(sink, source_id):
    """A source row's outcomes: outcome, outputs, rejects, attempt."""
    lines = pads.dataset(str(sink / OUTCOMES)).to_table().to_pandas()
    lines = lines[lines["source_id"] == source_id].sort_values("attempt")
    return list(lines[["outcome", "outputs", "rejects", "attempt"]].itertuples(index=False, name=None))


def sound(sink, made):
    verdict = verify(Store.at(str(sink)), made.plan())
    return verdict.sound or verdict.lines()


@pytest.fixture
def calm(tmp_path):
    """The rows of a job in which nothing failed."""
    made = job(str(tmp_path / "calm"), tmp_path / "nothing")
    done(made)
    return frame(tmp_path / "calm")


def alike(rows, expected, without=()):
    """The same rows, but for the fingerprint: the folder of what is broken is part of the plan."""
    same = [name for name in SAME if name not in ("plan_fingerprint", *without)]
    pd.testing.assert_frame_equal(rows[same], expected[same])


def test_rows_that_failed_come_out_as_if_they_never_had(sink, broken, calm):
    made = job(str(sink), broken)
    spoil(broken, "not_finite", "table#1/fragile.b", "table#4/fragile.a", "table#4/fragile.b", "table#5/fragile.a")
    done(made)
    mend(broken, "table#1/fragile.b", "table#4/fragile.a", "table#4/fragile.b", "table#5/fragile.a")
    summary = retried(made)
    assert (summary.rows_in, summary.rows_out, summary.retried) == (3, 4, {"not_finite": 4})
    assert sound(sink, made) is True
    alike(frame(sink), calm)
    assert rejected(sink) == []
    assert outcomes(sink, "table#1") == [("ok", 1, 1, 1), ("ok", 1, 0, 2)]
    assert outcomes(sink, "table#4") == [("rejected", 0, 2, 1), ("ok", 2, 0, 2)]


def test_a_row_that_fails_again_is_one_reject_of_the_second_attempt(sink, broken):
    made = job(str(sink), broken)
    spoil(broken, "not_finite", "table#1/fragile.b", "table#2/fragile.a")
    done(made)
    for attempt in (2, 3):
        retried(made)
        assert rejected(sink) == [
            ("table#1/fragile.b", "not_finite", attempt),
            ("table#2/fragile.a", "not_finite", attempt),
        ]
        assert outcomes(sink, "table#1")[-1] == ("rejected", 0, 1, attempt)
        assert sound(sink, made) is True
    told = tally(Store.at(str(sink)), ledger.committed(Store.at(str(sink))))
    assert (told.rows, told.not_rejected, told.rejected) == (12, 22, {"not_finite": 2})
    status = look(Store.at(str(sink)))
    assert (status.rows_done, status.rejected, status.rows) == (12, {"not_finite": 2}, 12)


def test_only_one_code_or_some_rows_are_tried_and_the_others_stay_rejected(sink, broken, calm):
    made = job(str(sink), broken)
    spoil(broken, "not_finite", "table#0/fragile.a", "table#4/fragile.a", "table#7/fragile.b")
    spoil(broken, "value_invalid", "table#0/fragile.b", "table#1/fragile.a")
    done(made)
    mend(broken, *(f"table#{row}" for row in ("0/fragile.a", "4/fragile.a", "7/fragile.b", "0/fragile.b")))
    assert retried(made, code="not_finite", limit=2).rows_in == 2
    assert [code for _, code, _ in rejected(sink)].count("not_finite") == 1
    assert sound(sink, made) is True
    retried(made, code="not_finite")
    # Whatever was rejected of a source row that is tried is tried.
    assert rejected(sink) == [("table#1/fragile.a", "value_invalid", 1)]
    mend(broken, "table#1/fragile.a")
    retried(made)
    assert rejected(sink) == []
    assert sound(sink, made) is True
    alike(frame(sink), calm)


def three_steps(sink, broken, rows=6):
    """The first and last step make two rows of one."""
    folders = [broken / name for name in "xyz"]
    for folder in folders:
        folder.mkdir(parents=True)
    steps = [
        Fragile(broken=str(folder), to=to, output=folder.name)
        for folder, to in zip(folders, (("a", "b"), (), ("c", "d")), strict=True)
    ]
    return job(str(sink), broken, rows=rows, steps=steps), folders


def test_a_row_that_failed_in_the_second_of_three_steps_becomes_all_that_it_would_have(sink, broken, tmp_path):
    made, (_, second, _) = three_steps(sink, broken)
    spoil(second, "not_finite", "table#1/fragile.a", "table#3/fragile.a", "table#3/fragile.b")
    done(made)
    assert len(frame(sink)) == 6 * 4 - 3 * 2
    mend(second, "table#1/fragile.a", "table#3/fragile.a", "table#3/fragile.b")
    retried(made)
    rows = frame(sink)
    expected = {f"table#{n}/fragile.{ab}/fragile-3.{cd}" for n in range(6) for ab in "ab" for cd in "cd"}
    assert len(rows) == len(expected)
    assert set(rows["row_id"]) == expected
    assert sound(sink, made) is True


def test_a_row_that_failed_late_and_now_fails_early_is_no_other_row_than_before(sink, broken):
    made, (first, _, third) = three_steps(sink, broken)
    late = "table#1/fragile.a/fragile-3.d"
    spoil(third, "not_finite", late)
    done(made)
    mend(third, late)
    spoil(first, "value_invalid", "table#1/fragile.a", "table#1/fragile.b")
    retried(made)
    assert rejected(sink) == [(late, "value_invalid", 2)]
    assert sound(sink, made) is True
    mend(first, "table#1/fragile.a", "table#1/fragile.b")
    retried(made)
    rows = frame(sink)
    assert len(rows) == rows["row_id"].nunique() == 24
    assert rejected(sink) == []
    assert sound(sink, made) is True
    seeds = rows.set_index("row_id")["row_seed"]
    other, (_, _, _) = three_steps(sink.parent / "other", broken.parent / "unbroken")
    done(other)
    pd.testing.assert_series_equal(seeds, frame(sink.parent / "other").set_index("row_id")["row_seed"])


@pytest.fixture
def spoilt(broken):
    spoil(broken, "not_finite", "table#1/fragile.b", "table#4/fragile.a", "table#4/fragile.b", "table#10/fragile.a")
    return "table#1/fragile.b", "table#4/fragile.a", "table#10/fragile.a"
    # One of row 4 stays broken.


def test_a_retry_that_is_killed_between_any_two_changes_loses_and_doubles_nothing(tmp_path, broken, spoilt, calm):
    """The newest record is no change: whatever it says, rows are the same."""
    made, supply = job(str(tmp_path / "whole"), broken), Supply(10_000)
    done(made)
    mend(broken, *spoilt)
    retried(made, sink=Failing(made.sink.uri, supply))
    changes = 10_000 - supply.left
    assert changes == 14
    for cut in range(changes):
        spoil(broken, "not_finite", *spoilt)
        sink = tmp_path / f"cut-{cut}"
        made = job(str(sink), broken)
        done(made)
        mend(broken, *spoilt)
        with pytest.raises(PowerCutError):
            retried(made, sink=Failing(str(sink), Supply(cut)))
        assert frame(sink)["row_id"].is_unique
        run = begun(made)
        run.end()
        assert sound(sink, made) is True
        if rejected(sink) != [("table#4/fragile.b", "not_finite", 2)]:
            retried(made)
        assert sound(sink, made) is True
        assert {row_id for row_id, *_ in rejected(sink)} == {"table#4/fragile.b"}
        alike(frame(sink), calm[calm["row_id"] != "table#4/fragile.b"].reset_index(drop=True))


def test_a_retry_that_was_taken_over_removes_no_rejects(sink, broken):
    made = job(str(sink), broken)
    spoil(broken, "not_finite", "table#1/fragile.b")
    done(made)
    mend(broken, "table#1/fragile.b")
    late = begun(made, Mode.RETRY)
    after = begun(made, Mode.RETRY)
    with pytest.raises(SinkError, match="taken over"):
        late.retry()
    with pytest.raises(SinkError, match="taken over"):
        ledger.close(late.epoch)
    assert rejected(sink) == [("table#1/fragile.b", "not_finite", 1)]
    after.retry()
    after.end()
    assert rejected(sink) == []
    assert sound(sink, made) is True


def test_rejects_of_a_dead_retry_that_came_late_do_not_count(sink, broken):
    """What it wrote was no more counted when the next run began."""
    made = job(str(sink), broken)
    spoil(broken, "not_finite", "table#1/fragile.b")
    done(made)
    mend(broken, "table#1/fragile.b")
    dead = begun(made, Mode.RETRY)
    dead.retry()
    store = Store.at(str(sink))
    (late,) = set(store.names(OUTCOMES)) - set(store.names(DATA)) or set(ledger.committed(store)[-1:])
    kept = {name: store.get(name) for name in (f"{DATA}/{late}", f"{OUTCOMES}/{late}")}
    store.remove(kept)
    alive = begun(made)
    for name, data in kept.items():
        store.put(name, data)
    alive.end()
    assert rejected(sink) == [("table#1/fragile.b", "not_finite", 1)]
    assert sound(sink, made) is True


def test_a_later_run_knows_what_the_newest_attempt_has_left(sink, broken):
    made = job(str(sink), broken)
    spoil(broken, "not_finite", "table#1/fragile.b", "table#2/fragile.a")
    done(made)
    mend(broken, "table#1/fragile.b")
    retried(made)
    store = Store.at(str(sink))
    done_rows = Recall(store, ledger.committed(store), Seen.load(store)).of("").done
    found = done_rows.find(pa.chunked_array([[f"table#{n}" for n in range(12)]]))
    assert done_rows.counts(found) == {"rows": 12, "rejected": 1, "not_rejected": 23}


def test_another_plan_is_refused_with_what_differs(sink, broken):
    spoil(broken, "not_finite", "table#1/fragile.b")
    done(job(str(sink), broken))
    with pytest.raises(SinkError, match=r"seed: 0 -> 1\nrejected rows are tried again by the plan that they are of"):
        begun(job(str(sink), broken, seed=1), Mode.RETRY)


def test_where_the_resources_differ_the_plan_is_the_same(sink, broken):
    spoil(broken, "not_finite", "table#1/fragile.b")
    done(job(str(sink), broken))
    mend(broken, "table#1/fragile.b")
    assert retried(job(str(sink), broken, resources={"default": {"batch_rows": 2}})).rows_out == 1


def test_rows_are_tried_again_by_a_plan_that_makes_other_rows_of_them(sink, broken):
    """After `--extend`: what the new plan doesn't make stays rejected; what it does make is not doubled."""
    made = job(str(sink), broken)
    spoil(broken, "not_finite", "table#1/fragile.b", "table#2/fragile.a")
    done(made)
    mend(broken, "table#1/fragile.b", "table#2/fragile.a")
    other = job(str(sink), broken, to=("a", "c"))
    extended = begun(other, Mode.EXTEND)
    extended.end()
    retried(other)
    assert rejected(sink) == [("table#1/fragile.b", "not_finite", 2)]
    assert len(frame(sink)) == 23
    assert verify(Store.at(str(sink))).sound


def test_the_source_is_not_read(sink, broken):
    made = job(str(sink), broken)
    spoil(broken, "not_finite", "table#1/fragile.b")
    done(made)
    mend(broken, "table#1/fragile.b")
    gone = job(str(sink), broken, source=pa.table({"n": pa.array([], pa.int64())}))
    assert retried(gone).rows_out == 1


def test_tensors_of_the_source_are_kept_with_rejected_rows_alone(sink, broken):
    latents = [{"data": np.full(4, n, np.float16), "shape": [2, 2]} for n in range(3)]
    field = pa.field("latents", columns.TENSOR, metadata={"model": "builtin:stable-diffusion"})
    table = pa.table([pa.array(range(3)), pa.array(latents, columns.TENSOR)], pa.schema([("n", pa.int64()), field]))
    made = job(str(sink), broken, source=table)
    spoil(broken, "not_finite", "table#1/fragile.b")
    done(made)
    assert "latents" not in frame(sink)
    assert frame(sink, REJECTS)["latents"][0]["data"].tolist() == [1.0] * 4
    assert plan_again(made).source.schema.field("latents").metadata == {b"model": b"builtin:stable-diffusion"}
    mend(broken, "table#1/fragile.b")
    assert retried(made).rows_out == 1
    assert frame(sink)["content_hash"].nunique() == 3
    assert sound(sink, made) is True


def test_where_nothing_was_rejected_there_is_nothing_to_do(sink, broken):
    made = job(str(sink), broken)
    with pytest.raises(SinkError, match="run the job first"):
        plan_again(made)
    done(made)
    assert plan_again(made) is None
    assert made.retry().rows_in == 0


def test_a_code_that_no_row_has_is_one_line(sink, broken):
    done(job(str(sink), broken))
    with pytest.raises(UserError, match="did you mean 'image_missing'"):
        job(str(sink), broken).retry(code="imge_missing")
