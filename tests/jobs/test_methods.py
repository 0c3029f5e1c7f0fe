"""An operator with several methods: in the job file, its mistakes, its schema and what the command line shows of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from jobs import Job
from jobs.cli import main
from jobs.jobfile import JobFile
from operators import KINDS
from operators.errors import SpecError
from tests.jobs.steps import Blend, FadedOut, Mixed

pytestmark = pytest.mark.usefixtures("blend")


@pytest.fixture
def blend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One operator more, with two methods."""
    with monkeypatch.context() as patched:
        patched.setitem(KINDS, Blend.kind, (Mixed, FadedOut))
        Job.model_rebuild(force=True)
        yield
    Job.model_rebuild(force=True)


def read(folder: Path, step: str, *changes: str) -> JobFile:
    path = folder / "job.yaml"
    path.write_text(f"source: builtin:shapes?rows=4\nsteps:\n  - {step}\nsink: out\n")
    return JobFile.read(path, changes)


def test_the_method_chooses_the_spec(tmp_path: Path) -> None:
    job = read(tmp_path, "blend: {method: faded_out, from: cat, seconds: 5}").job
    assert job.steps == (FadedOut(from_="cat", seconds=5),)
    changed = read(tmp_path, "blend: {method: faded_out, from: cat}", "steps.0.blend={method: mixed, from: dog}").job
    assert changed.steps == (Mixed(from_="dog"),)


def test_the_job_that_is_recorded_can_be_read_again(tmp_path: Path) -> None:
    job = read(tmp_path, "blend: {method: faded_out, from: cat}").job
    recorded = tmp_path / "recorded.json"
    recorded.write_text(json.dumps(job.model_dump(mode="json")))
    assert json.loads(recorded.read_text())["steps"][0]["blend"]["from"] == "cat"
    assert JobFile.read(recorded).job == job


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (
            "blend: {method: faded-out, from: a}",
            "3: steps.0.blend.method: there is no blend method 'faded-out'; did you mean 'faded_out'?",
        ),
        (
            "blend: {method: 3, from: a}",
            "3: steps.0.blend.method: there is no blend method '3'; there are mixed",
        ),
        ("blend: {from: a}", "3: steps.0.blend: give a `method`: mixed, faded_out"),
        ("blend", "3: steps.0.blend: give a `method`: mixed, faded_out"),
        ("blend: [a]", '3: steps.0.blend: ["a"] won\'t do; write a mapping with model or '),
        (
            "blend: {method: faded_out, from: a, mask_threshold: 0.5}",
            "3: steps.0.blend.mask_threshold: option 'mask_threshold' belongs to mixed, not to faded_out",
        ),
        (
            "blend: {method: faded_out, from: a, second: 5}",
            "3: steps.0.blend.second: there is no option 'second'; did you mean 'seconds'?",
        ),
        (
            "blend: {method: faded_out, from: a, mask_treshold: 5}",
            "3: steps.0.blend.mask_treshold: there is no option 'mask_treshold'; there are ",
        ),
        ("blend: {method: mixed}", "3: steps.0.blend.from: this must be given: what is there"),
        ("blend: {method: mixed, from: 3}", "3: steps.0.blend.from: 3 won't do; write text, in quotes if need be"),
        ("blnd: {method: mixed}", "3: steps.0: there is no operator 'blnd'; did you mean 'blend'?"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, step: str, line: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, step)
    told = str(caught.value).removeprefix(f"{tmp_path}/job.yaml:")
    assert told.startswith(line), told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("step", "good"),
    [
        ({"blend": {"method": "mixed", "from": "a", "mask_threshold": 1}}, True),
        ({"blend": {"method": "mixed", "from": "a", "seconds": 1}}, False),
        ({"blend": {"method": "mixt", "from": "a"}}, False),
        ({"blend": {"from": "a"}}, False),
        ({"blend": None}, False),
        ("blend", False),
        ("caption", True),
    ],
)
def test_the_schema_knows_the_methods(step: Any, good: bool) -> None:
    validator = jsonschema.Draft202012Validator(Job.model_json_schema())
    assert validator.is_valid({"source": "a", "steps": [step], "sink": "b"}) is good


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        main(arguments)
    return capsys.readouterr().out


def test_the_operators_are_listed_with_their_methods(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split(maxsplit=2) for line in shown(capsys, "operators").splitlines()]
    assert ["blend", "mixed", "Mix two pictures."] in lines
    assert ["blend", "faded_out", "Fade a picture out."] in lines


def test_common_options_are_shown_once_and_then_each_methods_own(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [block.splitlines() for block in shown(capsys, "operators", "blend").split("\n\n")]
    assert blocks[0] == ["blend: mixed, faded_out"]
    names = [[line.split()[0] for line in block] for block in blocks]
    assert names[1][:2] == ["option", "method"]
    assert {"from", "amount"} < set(names[1])
    assert blocks[2] == ["blend, method mixed: Mix two pictures."]
    assert blocks[3] == ["mask_threshold  0.3  where to mix"]
    assert blocks[4] == ["blend, method faded_out: Fade a picture out."]
    assert names[5] == ["seconds"]


def test_the_schema_of_the_options_knows_the_methods(capsys: pytest.CaptureFixture[str]) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(shown(capsys, "operators", "blend", "--json"))["blend"])
    assert validator.is_valid({"method": "mixed", "from": "a", "mask_threshold": 1})
    assert not validator.is_valid({"method": "mixed", "from": "a", "seconds": 1})
