"""The examples and what README shows of them, run as a newcomer would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.jobfile import JobFile
from operators.images import decode
from operators.models.builtin.reading import read
from tests.ray.datasets import rows

ROOT = Path(__file__).parents[2]


def run(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """An empty folder in which the quickstart was run, and what it printed."""
    folder = tmp_path_factory.mktemp("newcomer")
    return folder, run(folder, "-m", "jobs", "run", ROOT / "examples" / "quickstart.yaml")


def test_the_quickstart_says_and_draws_what_is_right(quickstart):
    folder, done = quickstart
    assert done.stderr == ""
    assert re.search(r"rows in +12 *\nrows out +24 *\n", done.stdout)
    made = rows(folder / "out" / "quickstart")
    shown = [read(np.asarray(decode(picture))).caption for picture in made["image"]]
    drawn = [read(np.asarray(decode(picture))) for picture in made["edited_image"]]
    assert sum(said == seen for said, seen in zip(made["caption"], shown, strict=True)) >= 22
    assert sum(asked == seen.caption for asked, seen in zip(made["edited_image_prompt"], drawn, strict=True)) >= 21
    assert sum(row_id.endswith(seen.shape) for row_id, seen in zip(made["row_id"], drawn, strict=True)) >= 21


@pytest.mark.parametrize("method", ["pix2pix_zero", "diffedit", "img2img", "cycle"])
def test_the_quickstart_is_another_method_by_one_word(method):
    plan = JobFile.read(ROOT / "examples" / "quickstart.yaml", [f"steps.2.edit.method={method}"]).plan()
    assert plan.steps[-1].spec.method == method
    assert plan.rows_out == 24


def test_the_command_in_readme_that_changes_the_method(quickstart):
    folder, _ = quickstart
    _, arguments = re.search(r"^latentmill run (\S+) (.*method=.*)$", (ROOT / "README.md").read_text(), re.M).groups()
    few = ["--limit", "2", "--set", "steps.2.edit.steps=4", "--set", "steps.1.invert.steps=4"]
    done = run(folder, "-m", "jobs", "run", ROOT / "examples" / "quickstart.yaml", *arguments.split(), *few)
    assert re.search(r"rows in +2 *\nrows out +4 *\n", done.stdout)


def test_readmes_snippet_reads_what_the_quickstart_wrote(quickstart):
    folder, _ = quickstart
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    printed = run(folder, "-c", snippet).stdout.splitlines()
    assert len(printed) == 3
    assert printed[0].startswith("shapes#0000")


def test_the_contact_sheet_shows_the_rows(quickstart):
    folder, _ = quickstart
    run(folder, ROOT / "examples" / "contact_sheet.py", "out/quickstart", "sheet.png")
    assert Image.open(folder / "sheet.png").width > 600


def test_one_operator_alone(tmp_path):
    printed = run(tmp_path, ROOT / "examples" / "one_operator.py").stdout.splitlines()
    pairs = [re.match(r"'(.*)'  \(rendered as '(.*)'\)", line).groups() for line in printed]
    assert len(pairs) == 4
    assert sum(said == rendered for said, rendered in pairs) >= 3


def test_the_same_job_in_python(tmp_path):
    printed = run(tmp_path, ROOT / "examples" / "python_job.py").stdout
    assert "3 rows in, 6 rows out" in printed
    assert printed.count("shapes#0000") == 6


def test_prompts_become_pictures(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    job = ROOT / "examples" / "prompts-to-images.yaml"
    run(tmp_path, "-m", "jobs", "run", job, "--limit", 2, "--set", "steps.0.generate.steps=3")
    made = rows(tmp_path / "out" / "prompts-to-images")
    assert len(made) == 4
    assert all(value["bytes"].startswith(b"\xff\xd8\xff") for value in made["image"])
