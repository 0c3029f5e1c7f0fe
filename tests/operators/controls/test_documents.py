"""What the documents say of controls, held against the controls."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.operators.controls.documents import made, written

ROOT = Path(__file__).parents[3]


def test_the_tables_are_those_of_the_controls() -> None:
    assert written() == made()


@pytest.mark.parametrize(
    "path", ["operators/controls/rescale.py", "tests/operators/controls/test_rescale.py"], ids=["control", "test"]
)
def test_the_control_that_is_walked_through_is_the_one_that_exists(path: str) -> None:
    page = (ROOT / "docs" / "add-a-control.md").read_text()
    text = (ROOT / path).read_text()
    assert text in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(text.splitlines()) < 60
