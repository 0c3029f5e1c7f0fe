"""What is in the wheel, and that the pinned versions are those of the tests."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
BUILTIN = "operators/models/builtin"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in the wheel, built from a copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("jobs", "operators", "cluster", "tests", "training"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(source / "dist"), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def test_every_module_is_in_the_wheel_and_no_test(wheel: set[str]) -> None:
    ours = {
        path.relative_to(ROOT).as_posix()
        for name in ("jobs", "operators", "cluster")
        for path in (ROOT / name).rglob("*.py")
    }
    assert {name for name in wheel if name.endswith(".py")} == ours


@pytest.mark.parametrize("model", ["blip", "clip", "controlnet", "stable-diffusion", "t2i-adapter"])
def test_the_built_in_models_are_in_the_wheel(wheel: set[str], model: str) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / BUILTIN / model).rglob("*") if path.is_file()}
    assert any(name.endswith(".safetensors") for name in files)
    assert files <= wheel


def test_the_manifests_are_in_the_wheel(wheel: set[str]) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "cluster" / "manifests").rglob("*.yaml")}
    assert len(files) > 6
    assert files <= wheel


def test_what_the_report_is_made_of_is_in_the_wheel(wheel: set[str]) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "jobs" / "reporting" / "web").iterdir()}
    assert len(files) > 8
    assert files <= wheel


def test_the_licence_is_in_the_wheel(wheel: set[str]) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_the_pinned_versions_are_those_that_run() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    there = {name: importlib.metadata.version(name).split("+")[0] for name in pinned}
    assert there == pinned


def test_every_direct_dependency_is_pinned() -> None:
    pinned = (ROOT / "constraints.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert not [item for item in required if f"\n{Requirement(item).name.lower()}==" not in pinned]


def test_the_image_has_the_ray_that_is_pinned_and_all_that_the_wheel_is_made_of() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert set(re.findall(r"rayproject/ray:([\d.]+)-", dockerfile)) == {pinned[1]}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (installed,) = re.findall(r"latentmill\[(.+)\]", dockerfile)
    assert set(installed.split(",")) == extras.keys() - {"browser", "test"}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == {"cluster", "jobs", "operators", "constraints.txt", "LICENSE", "pyproject.toml", "README.md"}
