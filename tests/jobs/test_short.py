"""A step written short: text or a list in the place of all options, as in ``filter: clip_direction > 0.2``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import jsonschema
import pytest
from pydantic import Field

from jobs import Job
from jobs.jobfile import JobFile
from operators import KINDS
from operators.errors import SpecError
from tests.jobs.steps import Planned


class Named(Planned):
    """Stands for its text, if it has one."""

    kind: ClassVar[str] = "named"
    short: ClassVar[str | None] = "text"

    text: Annotated[str, Field(min_length=1)] | None = None
    times: int = 1


class Listed(Planned):
    """Stands for its list."""

    kind: ClassVar[str] = "listed"
    short: ClassVar[str | None] = "words"

    words: tuple[Annotated[str, Field(min_length=1)], ...]


@pytest.fixture(autouse=True)
def short_ones(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setitem(KINDS, Named.kind, (Named,))
        patched.setitem(KINDS, Listed.kind, (Listed,))
        Job.model_rebuild(force=True)
        yield
    Job.model_rebuild(force=True)


def read(folder: Path, step: str, *changes: str) -> JobFile:
    path = folder / "job.yaml"
    path.write_text(f"source: builtin:shapes?rows=4\nsteps:\n  - {step}\nsink: out\n")
    return JobFile.read(path, changes)


@pytest.mark.parametrize(
    ("step", "changes", "spec"),
    [
        ("named: some text", [], Named(text="some text")),
        ("named: {text: some text, times: 2}", [], Named(text="some text", times=2)),
        ("named", [], Named()),
        ("named:", [], Named()),
        ("listed: [aa, bb]", [], Listed(words=("aa", "bb"))),
        ("listed: {words: [aa]}", [], Listed(words=("aa",))),
        ("named: some text", ["steps.0.named=other"], Named(text="other")),
        ("named: some text", ["steps.0.named.times=3"], Named(text="some text", times=3)),
        ("listed: [aa, bb]", ["steps.0.listed.1=cc"], Listed(words=("aa", "cc"))),
    ],
)
def test_short_and_long_are_the_same(tmp_path: Path, step: str, changes: list[str], spec: Planned) -> None:
    job = read(tmp_path, step, *changes).job
    assert job.steps == (spec,)
    assert Job.model_validate(job.model_dump(mode="json")) == job


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ("named: ''", 'steps.0.named: "" won\'t do; write at least one character'),
        ("named: 3", "steps.0.named: 3 won't do; write a mapping with model or text or times"),
        ("named: [aa]", 'steps.0.named: ["aa"] won\'t do; write text, in quotes if need be'),
        ("listed: aa", 'steps.0.listed: "aa" won\'t do; write a list'),
        ("listed: [aa, 3]", "steps.0.listed.1: 3 won't do; write text, in quotes if need be"),
        ("listed: {word: [aa]}", "steps.0.listed.word: there is no option 'word'; did you mean 'words'?"),
        ("caption: aa", 'steps.0.caption: "aa" won\'t do; write a mapping with'),
    ],
)
def test_a_mistake_is_told_at_its_place(tmp_path: Path, step: str, line: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, step)
    assert str(caught.value).startswith(f"{tmp_path}/job.yaml:3: {line}")


def test_the_json_schema_knows_both() -> None:
    schema = jsonschema.Draft202012Validator(Job.model_json_schema())
    base = {"source": "photos/", "sink": "out"}
    good = ["named", {"named": "some text"}, {"named": {"times": 2}}, {"listed": ["aa"]}, {"listed": {"words": ["aa"]}}]
    assert all(schema.is_valid(base | {"steps": [step]}) for step in good)
    bad = [{"named": ""}, {"named": ["aa"]}, {"named": 3}, {"listed": "aa"}, {"listed": [3]}, {"caption": "aa"}]
    assert not any(schema.is_valid(base | {"steps": [step]}) for step in bad)
