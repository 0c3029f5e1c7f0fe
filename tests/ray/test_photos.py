"""A folder of real photographs, good and bad, through a real job."""

from __future__ import annotations

import pyarrow as pa
import pytest
from PIL import Image

from jobs import Job
from operators import Caption, Invert, Pix2PixZero
from operators.images import encode_all
from tests.ray.datasets import outcomes, rows

STEPS = (Caption(), Invert(steps=2, reconstruction=False), Pix2PixZero(from_="cat", to="dog", steps=2))


@pytest.fixture(scope="module")
def ran(cluster, photos, tmp_path_factory):
    sink = tmp_path_factory.mktemp("photos-out") / "sink"
    job = Job(source=str(photos.folder), steps=STEPS, sink=str(sink), max_rejects=len(photos.bad) - 1)
    return sink, job.run()


def test_good_pictures_come_out_and_each_bad_one_is_one_reject(ran, photos):
    sink, summary = ran
    assert rows(sink)["row_id"].tolist() == sorted(photos.good)
    rejected = rows(sink, "rejects")
    assert dict(zip(rejected["row_id"], rejected["_error_code"], strict=True)) == photos.bad
    assert set(rejected["_error_step"]) == {"caption"}
    assert rejected["_error_message"].str.len().min() > 0
    assert summary.rows_out == len(photos.good)
    assert sum(summary.rejected.values()) == len(photos.bad)


def test_a_reject_keeps_its_input(ran, photos):
    sink, _ = ran
    for _, row in rows(sink, "rejects").iterrows():
        assert row["image"]["bytes"] == (photos.folder / row["row_id"]).read_bytes()


def test_rejects_over_the_limit_are_not_accepted(ran, photos):
    sink, summary = ran
    assert not summary.accepted
    again = Job(source=str(photos.folder), steps=STEPS, sink=str(sink), max_rejects=len(photos.bad)).run()
    assert again.rows_in == 0
    assert again.accepted


def test_outcomes_tell_of_every_file(ran, photos):
    sink, _ = ran
    told = outcomes(sink).set_index("source_id")["outcome"].to_dict()
    assert told == dict.fromkeys(photos.good, "ok") | dict.fromkeys(photos.bad, "rejected")


def test_what_can_be_described_but_is_too_small_to_invert_is_a_reject_of_that_step(cluster, tmp_path):
    table = pa.table({"image": encode_all([Image.new("RGB", (side, side), "red") for side in (1, 64)])})
    summary = Job(source=table, steps=STEPS, sink=str(tmp_path / "sink"), max_rejects=1).run()
    assert (summary.rows_out, summary.accepted) == (1, True)
    (reject,) = rows(tmp_path / "sink", "rejects").to_dict("records")
    assert (reject["row_id"], reject["_error_step"], reject["_error_code"]) == ("table#0", "invert", "image_too_small")
    assert reject["caption"]
