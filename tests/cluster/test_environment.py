"""Code and packages as they are here, for a cluster."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from cluster.environment import PACKAGES, copy_code, pinned, requirements

ROOT = Path(__file__).parents[2]


def test_what_is_needed_is_python_and_the_direct_dependencies():
    needed = requirements()
    assert needed[0].startswith("python>=3.11")
    names = [Requirement(requirement).name for requirement in needed]
    assert {"ray", "torch", "diffusers", "click"} <= set(names)
    assert not {"s3fs", "gcsfs", "pylance", "pytest"} & set(names)
    assert "s3fs" in [Requirement(requirement).name for requirement in requirements(["s3"])]


def test_pins_are_of_all_that_is_required_and_installed_but_ray():
    pins = dict(pin.split("==") for pin in pinned(requirements(["gcs"])))
    assert {"torch", "tokenizers", "gcsfs", "google-auth", "huggingface-hub", "typing-extensions"} <= pins.keys()
    assert not {"ray", "python", "pytest", "s3fs", "opencensus"} & pins.keys()
    assert pins == {name: Version(version(name)).public for name in pins}


def test_pins_hold_together():
    checked = ["pip", "install", "--dry-run", "--no-deps", "--no-index", "--quiet", *pinned(["click", "pydantic>=2"])]
    subprocess.run([sys.executable, "-m", *checked], check=True)


def test_the_code_is_copied_as_it_is_imported(tmp_path):
    assert [Path(copy).name for copy in copy_code(tmp_path)] == list(PACKAGES)
    here = {path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} == {
        path for path in here if "__pycache__" not in path.parts
    }
