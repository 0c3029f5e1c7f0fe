"""Rejected rows tried again, on a real cluster and through the command line."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from operators.images import encode_all
from operators.models.builtin import scenes
from tests.ray.datasets import outcomes, rows
from tests.ray.test_sources_and_sinks import latentmill


def test_pictures_that_were_not_there_are_described_once_they_are(cluster, tmp_path):
    """Two pictures are missing and one is broken; the source is gone by the time they are tried again."""
    shots, sink = tmp_path / "shots", tmp_path / "sink"
    shots.mkdir()
    drawn = [scenes.scene(number, 4) for number in range(6)]
    pictures = [picture["bytes"] for picture in encode_all(scenes.draw(drawn)).to_pylist()]
    for number in (0, 2, 4, 5):
        (shots / f"{number}.png").write_bytes(pictures[number] if number != 2 else b"no picture")
    table = pa.table({"number": range(6), "image": [f"shots/{number}.png" for number in range(6)]})
    pq.write_table(table, tmp_path / "rows.parquet")
    job = {
        "source": str(tmp_path / "rows.parquet"),
        "steps": ["caption"],
        "sink": {"uri": str(sink), "part_rows": 2},
        "max_rejects": 1,
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    ran = latentmill("run", path, "--address", cluster)
    assert (ran.returncode, len(rows(sink))) == (1, 3), ran.stderr

    for number in (1, 2, 3):
        (shots / f"{number}.png").write_bytes(pictures[number])
    (tmp_path / "rows.parquet").unlink()
    done = latentmill("retry", path, "--address", cluster, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows_in"], told["rows_out"]) == (3, 2)
    assert told["retried"] == {"image_missing": 2, "image_undecodable": 1}
    assert told["rejected"] == {"image_undecodable": 1}

    made, left = rows(sink), rows(sink, "rejects")
    assert made["number"].tolist() == [0, 1, 3, 4, 5]
    assert made["caption"].tolist() == [drawn[number].caption for number in (0, 1, 3, 4, 5)]
    assert [picture["bytes"] for picture in made["image"]] == [pictures[number] for number in (0, 1, 3, 4, 5)]
    # What was no picture was there: it is the row's input, and tried again as it was.
    assert left["image"][0]["bytes"] == b"no picture"
    assert left["_error_attempt"].tolist() == [2]
    assert outcomes(sink)["attempt"].value_counts().to_dict() == {1: 6, 2: 3}
    assert latentmill("verify", sink).returncode == 0
    status = json.loads(latentmill("status", sink, "--json").stdout)
    assert (status["state"], status["rows_done"], status["rejected"]) == ("done", 6, {"image_undecodable": 1})

    again = latentmill("retry", path, "--address", cluster, "--code", "image_missing")
    assert again.returncode == 0, again.stderr
    assert rows(sink, "rejects")["_error_attempt"].tolist() == [2]
    wrong = latentmill("retry", path, "--address", cluster, "--code", "imge_missing")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "did you mean 'image_missing'" in wrong.stderr
