"""The JSON Schema of the job file, as an editor applies it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from jobs.cli import main

GOOD: dict[str, Any] = {"source": "photos/", "steps": ["caption"], "sink": "out"}


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    from jobs import Job

    schema = Job.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["schema"])
    schema = json.loads(capsys.readouterr().out)
    jsonschema.validate(GOOD, schema)
    assert schema["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"name": "a", "seed": 3, "max_rejects": 5},
        {"max_rejects": "1.5%"},
        {"source": {"uri": "a", "format": "images", "columns": {"image": "img"}, "limit": 3}},
        {"sink": {"uri": "a", "part_rows": 3}},
        {"steps": [{"caption": None}, {"caption": {"num_beams": 3, "prefix": {"column": "p"}}}]},
        {"steps": [{"generate": {"prompt": "a cat", "scheduler": "euler", "width": {"column": "w"}}}]},
        {"resources": {"default": {"gpus": 0.5}, "caption": {"actors": {"min": 1, "max": 4}}}},
    ],
)
def test_good_jobs_pass(validator: jsonschema.Draft202012Validator, change: dict[str, Any]) -> None:
    validator.validate(GOOD | change)


@pytest.mark.parametrize(
    "change",
    [
        {"nmae": "a"},
        {"max_rejects": "5"},
        {"source": {"uri": "a", "formt": "images"}},
        {"source": {"format": "images"}},
        {"sink": {"uri": "a", "partrows": 3}},
        {"steps": ["capton"]},
        {"steps": "caption"},
        {"steps": [{"caption": {"num_beans": 3}}]},
        {"steps": [{"caption": {}, "generate": {}}]},
        {"steps": [{"generate": {"prompt": {"colum": "a"}}}]},
        {"resources": {"default": {"gpu": 0.5}}},
        {"resources": {"default": {"actors": {"mx": 5}}}},
    ],
)
def test_misspelt_jobs_fail(validator: jsonschema.Draft202012Validator, change: dict[str, Any]) -> None:
    assert not validator.is_valid(GOOD | change)
