"""What can't run is refused in one line before anything is written, and a bug is not taken for a bad row."""

from __future__ import annotations

import pyarrow as pa
import pytest

from jobs import Job
from operators import Caption
from operators.errors import ModelError, ResourceError, SinkError

SOURCE = "builtin:shapes?rows=4"


def test_a_plan_of_other_steps_is_refused_by_a_used_sink(cluster, tmp_path):
    sink = str(tmp_path / "sink")
    Job(source=SOURCE, steps=[], sink=sink).run()
    with pytest.raises(SinkError, match="holds rows of another plan"):
        Job(source=SOURCE, steps=[Caption()], sink=sink).run()


def test_a_sink_that_is_a_file_is_refused(cluster, tmp_path):
    (tmp_path / "sink").write_text("not a folder")
    with pytest.raises(SinkError):
        Job(source=SOURCE, steps=[], sink=str(tmp_path / "sink")).run()
    assert (tmp_path / "sink").read_text() == "not a folder"


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"gpus": 1}, "caption needs 1 GPU, and the most that a node has is 0"),
        ({"cpus": 64}, "caption needs 64 CPUs, and the most that a node has is 2"),
        ({"actors": 500, "cpus": 0.1}, "needs 50.5 CPUs at once"),
    ],
)
def test_a_step_that_can_never_fit_is_refused(cluster, tmp_path, resources, said):
    job = Job(source=SOURCE, steps=[Caption()], sink=str(tmp_path / "sink"), resources={"caption": resources})
    with pytest.raises(ResourceError, match=said):
        job.run()
    assert not (tmp_path / "sink").exists()


def test_a_model_that_is_no_model_is_refused_before_anything_is_written(cluster, tmp_path):
    (tmp_path / "model").mkdir()
    job = Job(source=SOURCE, steps=[Caption(model=str(tmp_path / "model"))], sink=str(tmp_path / "sink"))
    with pytest.raises(ModelError, match=r"steps\.0\.caption: model .*model"):
        job.run()
    assert not (tmp_path / "sink").exists()


def test_rows_without_pictures_are_rejects_and_the_rest_goes_on(cluster, tmp_path):
    table = pa.table({"image": pa.array([b"", None, b"text"], pa.binary())})
    summary = Job(source=table, steps=[Caption()], sink=str(tmp_path / "sink")).run()
    assert dict(summary.rejected) == {"image_empty": 1, "image_missing": 1, "image_undecodable": 1}
    assert not summary.accepted
    assert not (tmp_path / "sink" / "data").exists()
