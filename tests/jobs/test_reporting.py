"""What a report tells of a sink, and the page that it is put into."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import Job
from jobs.commands.report import report as command
from jobs.formats import SinkFormat
from jobs.reporting.cost import cost
from jobs.reporting.histograms import histograms
from jobs.reporting.page import page
from jobs.reporting.report import MOST_ROWS, ROWS, report
from jobs.reporting.roles import Pair, Roles
from jobs.reporting.sampling import sample
from jobs.reporting.thumbnails import Thumbnails
from jobs.sink.rows import SinkRows
from jobs.stores.store import Store
from operators import columns
from operators.images import encode_all
from tests.jobs import recoloured, sinks
from tests.jobs.test_cli import latentmill
from tests.jobs.test_rows import Counting, sink_of


class Parsed(HTMLParser):
    """The elements of a page, and what its scripts and styles hold."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.inside, self.open = [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br", "input"):
            self.open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        if self.open and self.open[-1][0] in ("script", "style"):
            tag, attributes = self.open[-1]
            key = attributes.get("type", tag)
            self.inside[key] = self.inside.get(key, "") + text


@pytest.fixture(scope="module")
def sink(tmp_path_factory):
    return recoloured.done(tmp_path_factory.mktemp("reported"))


@pytest.fixture(scope="module")
def made(sink):
    return report(Store.at(sink), price_per_hour=2.0)


def test_every_format_is_reported_alike(tmp_path, made):
    for format_ in set(SinkFormat) - {SinkFormat.PARQUET}:
        (tmp_path / format_).mkdir()
        told = report(Store.at(recoloured.done(tmp_path / format_, format=format_)))
        assert told["format"] == format_
        for name in ("status", "sample", "histograms", "roles"):
            found, expected = (one | {"updated": 0} if name == "status" else one for one in (told[name], made[name]))
            assert found == expected, (format_, name)
        assert set(told["pictures"]) == set(made["pictures"])
        assert [row["id"] for row in told["rows"]] == [row["id"] for row in made["rows"]]


def test_counts_and_rejects_are_told_with_pictures_where_there_are_some(made):
    assert made["status"]["accepted"] == 10
    assert made["status"]["rejected"] == {"image_undecodable": 1, "not_finite": 1}
    rejects = made["left_out"]["rejected"]
    (unreadable,) = rejects["image_undecodable"]
    assert (unreadable["id"], unreadable["unreadable"][0], unreadable["pictures"]) == ("table#1", "image", {})
    assert "no picture in a known format" in unreadable["message"]
    (fragile,) = rejects["not_finite"]
    assert (fragile["step"], fragile["message"], set(fragile["pictures"])) == (
        "fragile",
        "as asked",
        {"image", "swapped", "swapped_mask"},
    )


def test_rows_that_were_left_out_are_told_by_step_where_they_are_kept(tmp_path):
    store = Store.at(recoloured.done(tmp_path))
    (tmp_path / "sink" / "filtered").mkdir()
    name = sorted((tmp_path / "sink" / "data").iterdir())[0].name
    rows = pq.read_table(tmp_path / "sink" / "data" / name)
    reasons = {"_filtered_step": "filter", "_filtered_reason": "brightness > 0.9"}
    for column, value in reasons.items():
        rows = rows.append_column(column, pa.repeat(value, len(rows)))
    for to in (name, "part-000001-00000000-00.parquet"):  # the second is of no part that counts
        pq.write_table(rows, tmp_path / "sink" / "filtered" / to)
    found = report(store)["left_out"]["filtered"]
    assert list(found) == ["filter"]
    assert sorted(row["id"] for row in found["filter"]) == sorted(rows["row_id"].to_pylist())
    assert {row["reason"] for row in found["filter"]} == {"brightness > 0.9"}
    assert all(set(row["pictures"]) == {"image", "swapped", "swapped_mask"} for row in found["filter"])


def test_a_row_has_its_pictures_texts_scores_and_lineage(sink, made):
    roles = made["roles"]
    assert roles["pairs"] == [vars(Pair("swapped", "image", "swapped_mask", "caption", "swapped_prompt"))]
    assert (roles["numbers"], roles["flags"]) == (["brightness", "drawn", "n"], ["odd"])
    stored = {row["row_id"]: row for batch in SinkRows.of(Store.at(sink)).batches() for row in batch.to_pylist()}
    assert {row["id"] for row in made["rows"]} == set(stored)
    for row in made["rows"]:
        kept = stored[row["id"]]
        assert row["texts"][0] == kept["caption"]
        assert row["numbers"] == [pytest.approx(kept["brightness"], rel=1e-5), kept["drawn"], kept["n"]]
        assert row["lineage"]["row_seed"] == str(kept["row_seed"])
        small = [Image.open(io.BytesIO(base64.b64decode(made["pictures"][at]))) for at in row["pictures"]]
        assert [picture.format for picture in small] == ["WEBP"] * 3
        before, after, _ = (np.asarray(picture.convert("RGB"), int) for picture in small)
        assert abs(before[..., ::-1] - after).mean() < 12
    (run,) = made["runs"]
    assert run["run_id"] == made["rows"][0]["run"]
    assert [next(iter(step)) for step in run["steps"]] == ["recoloured", "fragile"]


def test_the_page_is_sound_and_holds_the_report(made):
    text = page(made)
    parsed = Parsed(text)
    assert parsed.open == []
    assert json.loads(parsed.inside["application/json"]) == json.loads(json.dumps(made))
    assert [tag for tag, _ in parsed.elements].count("script") == 2
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"the\('([\w-]+)'\)", parsed.inside["script"]))
    assert used - set(ids) <= {"search"}
    assert dict(parsed.elements)["html"] == {"lang": "en"}


def test_what_a_row_holds_can_not_end_the_data_nor_run(made):
    text = page(made)
    assert recoloured.HOSTILE in {row["texts"][0] for row in made["rows"]}
    for part in ("<script>alert", "</script><", "onerror=alert(2)>", "<!-- &", "\u2028"):
        assert part not in text
    script = Parsed(text).inside["script"]
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert way not in script


def test_the_page_loads_nothing_and_runs_only_its_own_script(made):
    parsed = Parsed(page(made))
    for tag, attributes in parsed.elements:
        for name in {"src", "href", "action", "srcset", "poster", "data"} & attributes.keys():
            assert attributes[name].startswith(("#", "data:")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert not re.findall(r"url\(|@import|https?:", parsed.inside["style"])
    known = {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"https?://[^'\"` ]+", parsed.inside["script"])) == known
    (policy,) = (a["content"] for t, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(parsed.inside[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_the_same_sink_gives_the_same_report(sink, made):
    again = report(Store.at(sink), price_per_hour=2.0)
    assert {**again, "made": None} == {**made, "made": None}


def test_of_many_parts_few_are_read_and_always_the_same(tmp_path):
    _, store = sink_of(tmp_path, rows=60)
    counting = Counting(store.uri)
    counting.read.clear()
    rows = SinkRows.of(counting)
    chosen = sample(rows, 5)
    assert (len(chosen.parts), chosen.of_parts, len(chosen.ids), chosen.complete) == (8, 20, 5, False)
    ids = {row_id for batch in chosen.batches(rows, ["row_id", "n"]) for row_id in batch["row_id"].to_pylist()}
    assert ids == set(chosen.ids)
    opened = {name.partition(".")[0] for name in counting.read if name.startswith("data/")}
    assert opened == {f"data/{name.partition('.')[0]}" for name in chosen.parts}
    assert sample(SinkRows.of(store), 5) == chosen
    everything = sample(rows, 1000)
    assert (len(everything.ids), everything.complete) == (120, True)
    assert sample(rows, 40).ids[:5] == sample(rows, 48).ids[:5]


def test_a_sink_without_pictures_and_one_without_rows_are_reported(tmp_path):
    (tmp_path / "numbers").mkdir()
    _, store = sink_of(tmp_path / "numbers")
    told = report(store)
    assert (told["roles"]["pairs"], told["pictures"], len(told["rows"])) == ([], [], 24)
    assert Parsed(page(told)).open == []
    (tmp_path / "nothing").mkdir()
    broken = [(f"table#{number}+fragile.{label}", "not_finite") for number in range(12) for label in "ab"]
    _, store = sink_of(tmp_path / "nothing", broken=broken)
    told = report(store, price_per_hour=1.0)
    assert (told["rows"], told["status"]["accepted"], told["status"]["rejected"]) == ([], 0, {"not_finite": 24})
    assert told["cost"] is None
    assert Parsed(page(told)).open == []


def test_a_run_that_goes_on_is_reported_as_far_as_it_is(tmp_path):
    run = sinks.begun(recoloured.job(tmp_path), beat_seconds=0.1)
    empty = report(Store.at(str(tmp_path / "sink")))
    assert (empty["status"]["state"], empty["rows"], empty["status"]["source_rows"]) == ("running", [], 12)
    assert Parsed(page(empty)).open == []
    run.commit([0, 2])
    told = report(Store.at(str(tmp_path / "sink")))
    assert (told["status"]["state"], len(told["rows"]), told["status"]["rows_done"]) == ("running", 5, 6)
    run.end()


def test_pictures_stay_within_their_budget():
    noise = np.random.default_rng(0).integers(0, 256, (12, 96, 96, 3), np.uint8)
    values = encode_all(noise).to_pylist()
    small = Thumbnails(budget=24_000, pictures=12)
    numbers = small.add(values)
    assert sum(map(len, small.encoded)) <= 24_000
    assert numbers == list(range(12))
    assert small.add(values) == numbers
    assert small.add([None, {"bytes": b"", "path": None}, {"bytes": b"RIFF", "path": None}]) == [None] * 3
    tight = Thumbnails(budget=1_000, pictures=12)
    assert 0 < sum(at is not None for at in tight.add(values)) < 12
    assert sum(map(len, tight.encoded)) <= 1_000


@pytest.mark.long
def test_a_page_of_the_most_rows_stays_below_ten_megabytes(tmp_path):
    steps = [recoloured.Recoloured()]
    sink = {"uri": str(tmp_path / "sink"), "part_rows": 3}
    sinks.done(Job(source=recoloured.noisy(MOST_ROWS + 400, 64), steps=steps, sink=sink))
    told = report(Store.at(str(tmp_path / "sink")), MOST_ROWS)
    size = len(page(told).encode())
    assert (len(told["rows"]), told["sample"]["of_rows"]) == (MOST_ROWS, MOST_ROWS + 400)
    assert 3_000_000 < size < 10_000_000
    assert sum(row["pictures"][0] is not None for row in told["rows"]) > MOST_ROWS / 4


def test_histograms_are_those_of_all_values(sink):
    rows = SinkRows.of(Store.at(sink))
    told = histograms(rows, ["n", "brightness"], [])
    values = [value for batch in rows.batches(["brightness"]) for value in batch["brightness"].to_pylist()]
    one = told.of["brightness"]
    assert (told.rows, told.parts, told.of_parts) == (10, 4, 4)
    assert one.counts == np.histogram(values, one.edges)[0].tolist()
    assert (one.edges[0], one.edges[-1]) == pytest.approx((min(values), max(values)))
    assert (sum(one.counts), one.missing, one.median) == (10, 0, pytest.approx(np.median(values)))
    # Few whole numbers have a bin each.
    assert told.of["n"].edges == list(range(13))
    assert told.of["n"].counts == [1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]


def test_which_picture_was_made_of_which_is_known_from_the_steps():
    fields = [(name, columns.IMAGE) for name in ("image", "mask", "photo", "plain", "edited", "edited_mask")]
    schema = pa.schema([*fields, ("prompt", pa.string()), ("edited_prompt", pa.string()), *columns.LINEAGE])
    steps = [
        {"generate": {"prompt": {"column": "prompt"}, "image": None, "output": "plain"}},
        {"edit": {"image": "photo", "prompt": {"column": "prompt"}, "mask": "mask", "output": "edited"}},
    ]
    assert Roles.of(schema, steps).pairs == [
        Pair("plain", "image", None, None, "prompt"),
        Pair("edited", "photo", "edited_mask", "prompt", "edited_prompt"),
    ]
    assert [pair.after for pair in Roles.of(schema, []).pairs] == ["image", "photo", "plain", "edited"]
    generated = pa.schema([("prompt", pa.string()), ("plain", columns.IMAGE)])
    assert Roles.of(generated, steps).pairs == [Pair("plain", None, None, None, "prompt")]


def test_cost_is_hours_of_accelerators_or_else_of_machines():
    placed = [{"steps": [{"step": "invert"}, {"step": "edit"}], "gpus": 0.5}, {"steps": [{"step": "score"}], "gpus": 0}]
    stages = {"invert + edit": {"actors": 4, "hours": 6.0}, "score": {"actors": 1, "hours": 9.0}}
    run = {"resources": placed, "summary": {"stages": stages, "hosts": 2, "seconds": 7200.0}}
    paid = cost([run, run], 2.5, 4000)
    assert (paid.unit, paid.hours, paid.total, paid.per_thousand) == ("accelerator", 6.0, 15.0, 3.75)
    without = {**run, "resources": [{**one, "gpus": 0.0} for one in placed]}
    paid = cost([without], 2.5, 0)
    assert (paid.unit, paid.hours, paid.total, paid.per_thousand) == ("machine", 4.0, 10.0, None)
    assert cost([{"summary": {}}], 2.5, 10) is None


def test_every_option_of_the_command_is_in_the_documents():
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    told = re.findall(r"^\| `(--[\w-]+)", text, re.MULTILINE)
    assert told == [option.opts[0] for option in command.params if option.opts[0].startswith("--")]
    (rows,) = (option for option in command.params if option.name == "rows")
    assert (rows.default, rows.type.max) == (ROWS, MOST_ROWS)


def test_the_command_writes_the_page_or_says_in_a_line_why_not(capsys, tmp_path, sink):
    out = tmp_path / "page.html"
    code, said, _ = latentmill(capsys, "report", sink, "--out", out, "--rows", 4, "--price-per-hour", 2)
    assert (code, said) == (0, f"{out}: {out.stat().st_size / 1e6:.1f} MB\n")
    told = json.loads(Parsed(out.read_text()).inside["application/json"])
    assert (len(told["rows"]), told["sample"]["of_rows"]) == (4, 10)
    for wrong in ((tmp_path, "--out", out), (sink, "--out", tmp_path / "no" / "page.html"), (sink, "--out", tmp_path)):
        code, said, err = latentmill(capsys, "report", *wrong)
        assert (code, said, err.count("\n")) == (2, "", 1)
    assert latentmill(capsys, "report", sink, "--rows", 0)[0] == 2
