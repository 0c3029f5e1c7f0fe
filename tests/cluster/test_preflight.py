"""What a cluster answers before a job goes there."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

from cluster.preflight import answer, mark

ROOT = Path(__file__).parents[2]


def asked(**question):
    return answer({"requirements": [], "variables": [], "paths": {}} | question)


def test_what_is_lacking_is_told_with_what_is_there():
    needed = ["python>=3.11", "pytest>=8", "pytest<1", "python>=99", "no-such-package", "ray[data,default]"]
    assert asked(requirements=needed)["lacking"] == {
        "pytest<1": __import__("pytest").__version__,
        "python>=99": platform.python_version(),
        "no-such-package": None,
    }


def test_variables_are_told_by_name(monkeypatch):
    monkeypatch.setenv("IS_SET", "")
    monkeypatch.delenv("IS_NOT_SET", raising=False)
    assert asked(variables=["IS_SET", "IS_NOT_SET"])["unset"] == ["IS_NOT_SET"]


def test_a_folder_is_the_same_whatever_is_written_into_it(tmp_path):
    (tmp_path / "job.yaml").write_text("")
    marks = {str(path): mark(str(path)) for path in (tmp_path, tmp_path / "job.yaml")}
    (tmp_path / "out").mkdir()
    assert asked(paths=marks)["elsewhere"] == []


def test_another_file_at_the_same_path_is_elsewhere(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("here")
    there = mark(str(path))
    (tmp_path / "other").write_text("here")
    (tmp_path / "other").replace(path)
    assert asked(paths={str(path): there})["elsewhere"] == [str(path)]
    assert asked(paths={str(tmp_path / "nowhere"): there})["elsewhere"] == [str(tmp_path / "nowhere")]


def test_it_runs_where_nothing_but_ray_is_installed():
    question = json.dumps({"requirements": ["click"], "variables": [], "paths": {}})
    code = """
import runpy, sys
runpy.run_module("cluster.preflight", run_name="__main__")
sys.stderr.write(str([*sys.modules]))
"""
    told = subprocess.run([sys.executable, "-c", code, question], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(told.stdout) == {"lacking": {}, "unset": [], "elsewhere": []}
    assert not [name for name in ("click", "pydantic", "pyarrow", "operators", "jobs") if f"'{name}'" in told.stderr]
