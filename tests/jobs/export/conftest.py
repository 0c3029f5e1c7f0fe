from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.export.making import finished


@pytest.fixture(scope="session")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sink of edits, not to be changed."""
    folder = tmp_path_factory.mktemp("export") / "sink"
    finished(folder)
    return folder
