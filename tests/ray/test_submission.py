"""Jobs sent to a real Ray head that has no Latentmill, and knows nothing of this folder but that it is there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.ray.datasets import files, rows
from tests.ray.heads import bare_environment, head

ROOT = Path(__file__).parents[2]
SECONDS = 240


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with head(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    """A user's folder with a job of many parts, whose paths are relative."""
    job = {"name": "shapes", "source": "photos", "steps": [], "sink": {"uri": "out", "part_rows": 1}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    (tmp_path / "photos").mkdir()
    for number in range(2000):
        (tmp_path / "photos" / f"{number:04}.png").write_bytes(b"any bytes, as no step looks at them")
    return tmp_path


def heeding_interrupts():
    """A process that a shell starts in the background ignores interrupts, and so do those that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class User:
    """Somebody at a shell in a folder."""

    def __init__(self, folder, cluster, python=sys.executable, **changes):
        self._options = {
            "cwd": folder,
            "env": {**os.environ, "PYTHONPATH": str(ROOT), **cluster.environment, **changes},
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "preexec_fn": heeding_interrupts,
        }
        self._python = python
        self._address = cluster.address

    def starts(self, command, *arguments):
        given = [str(argument) for argument in (*arguments, "--address", self._address)]
        return subprocess.Popen([self._python, "-m", "jobs", command, *given], **self._options)

    def types(self, command, *arguments):
        out, err = (process := self.starts(command, *arguments)).communicate(timeout=SECONDS)
        return process.returncode, out, err


@pytest.fixture
def user(folder, cluster):
    return User(folder, cluster)


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def committed(folder):
    return len(files(folder / "out").get("_latentmill/outcomes", ()))


def test_a_job_runs_there_as_it_does_here(folder, user):
    code, out, err = user.types("submit", "job.yaml", "--limit", 3, "--id", "first", "--follow")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "first"
    assert [line for line in lines if line.startswith("1 of 3 rows (33%), ")]
    assert [line for line in lines if line.split() == ["rows", "out", "3"]]
    made = rows(folder / "out")
    assert made["source_id"].tolist() == ["0000.png", "0001.png", "0002.png"]

    here = subprocess.run(
        [sys.executable, "-m", "jobs", "plan", "job.yaml", "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    assert {json.loads(here.stdout)["fingerprint"]} == {*made["plan_fingerprint"]}

    code, out, err = user.types(
        "submit",
        "job.yaml",
        "--id",
        "first",
        "--unchecked",
        "--set",
        f"sink={folder / 'out'}",
        "--set",
        f"source={folder / 'photos'}",
    )
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "there is a job first already" in err

    code, out, _ = user.types("status", "first", "--json")
    told = json.loads(out)
    assert (code, told["state"], told["exit_code"], told["sink"]["state"]) == (0, "succeeded", 0, "done")
    assert told["sink"]["rows_done"] == 3
    code, out, _ = user.types("status", "first")
    assert out.splitlines()[:2] == ["first: succeeded", f"shapes: done -> {folder / 'out'}"]
    assert user.types("stop", "first")[:2] == (0, "first has ended before: succeeded\n")


@pytest.mark.long
def test_left_alone_it_goes_on_and_stopped_it_goes_on_from_there(folder, user):
    process = user.starts("submit", "job.yaml", "--id", "long", "--follow")
    until(lambda: committed(folder) > 5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err.startswith("latentmill: long goes on; stop it with `latentmill stop long --address http://127.0.0.1:")
    seen = committed(folder)
    until(lambda: committed(folder) > seen)

    assert user.types("stop", "long") == (0, "long: stopped\n", "")
    (record,) = [json.loads(path.read_text()) for path in folder.glob("out/_latentmill/runs/*/run.json")]
    assert record["state"] == "stopped"
    code, out, err = user.types("logs", "long", "--follow")
    assert (code, err) == (130, "latentmill: long was stopped; submitting it again goes on from there\n")
    assert "stopped; what was committed is kept" in out

    before = committed(folder)
    code, out, _ = user.types("submit", "job.yaml", "--follow", "--limit", before + 10)
    assert code == 0
    done = rows(folder / "out")["source_id"]
    assert done.is_unique
    assert len(done) >= before + 10


def test_a_failed_job_ends_the_command_as_it_ended(folder, cluster, user):
    """The cluster looks at the source by itself, and what it says is what would have been said here."""
    code, out, _ = user.types(
        "submit", "job.yaml", "--unchecked", "--follow", "--set", "source=/no/such", "--set", f"sink={folder}/out"
    )
    assert code == 2
    assert "latentmill: --set source=/no/such: source: /no/such: " in out


def test_what_the_cluster_does_not_have_is_told_before_anything_is_sent(folder, cluster, user):
    code, out, err = user.types("submit", "job.yaml", "--env", "NOT_SET_ANYWHERE")
    assert (code, out) == (2, "")
    assert err == (
        "latentmill: --env NOT_SET_ANYWHERE: NOT_SET_ANYWHERE is not set on the cluster; set it in the environment of "
        "the cluster's nodes, as from a secret of theirs\n"
    )
    code, out, err = user.types("submit", "job.yaml", "--unchecked")
    assert (code, out) == (2, "")
    assert "'photos' is a relative path, and nobody looked for it on the cluster" in err
    code, _, err = user.types("logs", "no-such-job")
    assert (code, err) == (2, f"latentmill: {cluster.address}: Job no-such-job does not exist\n")
    assert not (folder / "out").exists()


def test_who_is_not_let_in_is_told_so(folder, cluster):
    stranger = User(folder, cluster, RAY_AUTH_TOKEN="another-token-that-is-not-the-one")
    code, _, err = stranger.types("status", "first")
    assert (code, err.count("\n")) == (2, 1)
    assert "access is refused; set RAY_AUTH_MODE=token here, and RAY_AUTH_TOKEN to the cluster's token" in err


@pytest.mark.long
@pytest.mark.parametrize("packages", ["auto", "pip"])
def test_from_a_clean_environment_with_the_wheel(tmp_path, folder, cluster, packages):
    """All that the user has is the wheel and the job file."""
    python = bare_environment(tmp_path / "venv")
    for name in ("jobs", "operators", "cluster"):
        shutil.copytree(ROOT / name, tmp_path / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    build = ["wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", tmp_path, tmp_path / "source"]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    install = ["--python", python, "install", "--quiet", "--no-deps", *tmp_path.glob("*.whl")]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    command = [python.with_name("latentmill"), "submit", "job.yaml", "--limit", "3", "--follow", "--packages", packages]
    environment = {**os.environ, **cluster.environment, "RAY_API_SERVER_ADDRESS": cluster.address}
    environment.pop("PYTHONPATH", None)
    told = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, ""), told.stderr
    assert len(rows(folder / "out")) == 3
