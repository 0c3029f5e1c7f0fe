"""Models that come from elsewhere: once to a machine, however many ask, and whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from operators.models.loading import ModelFiles
from operators.models.ref import ModelRef
from tests.flaky import Fault, Flaky, Trouble, flaky
from tests.hub import COMMIT, Hub, hub

WEIGHTS = "model.safetensors"
_LOADING = """
import sys
from operators.errors import ModelError
from operators.models.loading import ModelFiles
from operators.models.ref import ModelRef
try:
    print(ModelFiles(ModelRef(sys.argv[1])).digest)
except ModelError as error:
    print(error)
"""


def process(name: str, home: Path, **environment: str) -> subprocess.Popen[str]:
    """A process that stages a model, as an actor does, and says its digest or why it has none."""
    surroundings = {**os.environ, "HF_HOME": str(home), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", _LOADING, name],
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out.strip()


@pytest.fixture
def digest(blip_folder: Path) -> str:
    return ModelFiles(ModelRef(str(blip_folder))).digest


@pytest.fixture
def stored(s3, blip_folder: Path) -> Iterator[tuple[str, Flaky, dict[str, str]]]:
    """A model on an S3 store, behind a proxy that counts what is asked for."""
    uri = f"{s3.new_bucket()}/blip"
    s3.files().put(f"{blip_folder}/", uri, recursive=True)
    with flaky(s3.endpoint) as proxy:
        yield uri, proxy, s3.environment | {"AWS_ENDPOINT_URL": proxy.endpoint}


def downloads(proxy: Flaky) -> int:
    return sum(method == "GET" and path.partition("?")[0].endswith(WEIGHTS) for method, path in proxy.requests)


def copies(home: Path) -> list[str]:
    return [path.name for path in (home / "latentmill").glob("*") if path.is_dir()]


def test_four_processes_copy_a_uri_once(stored, digest: str, tmp_path: Path) -> None:
    uri, proxy, environment = stored
    processes = [process(uri, tmp_path, **environment) for _ in range(4)]
    assert {said(each) for each in processes} == {digest}
    assert downloads(proxy) == 1
    assert len(copies(tmp_path)) == 1


def test_what_was_half_copied_is_not_used(stored, digest: str, tmp_path: Path) -> None:
    uri, proxy, environment = stored
    proxy.inject(Fault(Trouble.DELAY, method="GET", path=WEIGHTS, times=10**9, seconds=600))
    killed = process(uri, tmp_path, **environment)
    deadline = time.monotonic() + 60
    while not downloads(proxy):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (half,) = copies(tmp_path)
    assert ".half." in half
    proxy.calm()
    assert said(process(uri, tmp_path, **environment)) == digest
    (whole,) = copies(tmp_path)
    assert ".half." not in whole


def test_a_copy_that_never_gets_to_its_end_is_told(stored, tmp_path: Path) -> None:
    uri, proxy, environment = stored
    proxy.inject(Fault(Trouble.CUT_ANSWER, method="GET", path=WEIGHTS, times=10**9))
    told = said(process(uri, tmp_path, **environment))
    assert told.startswith(f"model '{uri}' can't be copied to {tmp_path}/latentmill: ")
    assert "\n" not in told
    assert not copies(tmp_path)


@pytest.fixture
def served(blip_folder: Path) -> Iterator[Hub]:
    with hub("org/blip", blip_folder) as serving:
        yield serving


@pytest.mark.parametrize("revision", ["", f"@{COMMIT}"])
def test_four_processes_load_from_the_hub_once(served: Hub, digest: str, tmp_path: Path, revision: str) -> None:
    processes = [process(f"org/blip{revision}", tmp_path, HF_ENDPOINT=served.endpoint) for _ in range(4)]
    assert {said(each) for each in processes} == {digest}
    assert served.downloads[WEIGHTS] == 1


def test_the_commit_of_a_model_from_the_hub_is_told(served: Hub, tmp_path: Path) -> None:
    code = (
        "from jobs.runner import _stage_here\n"
        "from operators import Caption\n"
        "print(_stage_here({'steps.0': Caption(model='org/blip'), 'steps.1': Caption()}))"
    )
    surroundings = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": served.endpoint}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str({"org/blip": COMMIT}), done.stderr


def test_half_a_download_from_the_hub_is_not_used(served: Hub, digest: str, tmp_path: Path) -> None:
    served.cuts = True
    told = said(process(f"org/blip@{COMMIT}", tmp_path, HF_ENDPOINT=served.endpoint))
    assert told.startswith(f"model 'org/blip@{COMMIT}' is not on this machine and the hub can't be reached: ")
    assert "\n" not in told
    served.cuts = False
    assert said(process(f"org/blip@{COMMIT}", tmp_path, HF_ENDPOINT=served.endpoint)) == digest


def test_a_repository_that_is_not_there(served: Hub, tmp_path: Path) -> None:
    told = said(process("org/nothing", tmp_path, HF_ENDPOINT=served.endpoint))
    assert told == "there is no model 'org/nothing' on the hub, or it is private"
