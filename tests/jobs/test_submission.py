"""What is refused before anything is sent to a cluster, and where there is none."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cluster.environment import Packages
from cluster.submission import RayJobs, _Log
from jobs.cli import main
from jobs.submission import Order, _entrypoint, _extras, _installed, check
from operators.errors import ClusterError

ADDRESS = "http://127.0.0.1:9"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "a job.yaml"
    path.write_text("name: circles\nsource: builtin:shapes?rows=4\nsteps: []\nsink: out\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", ADDRESS)
    return path


def latentmill(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return int(ended.value.code or 0), told.err.removeprefix("latentmill: ").strip()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--set", "steps=[blur]"], "--set steps=[blur]: steps.0: "),
        (["--set", "sink=~/out"], "--set sink=~/out: sink.uri: `~` is another folder on the cluster"),
        (["--set", "source=/no/such/folder"], "--set source=/no/such/folder: source: /no/such/folder: "),
        (["--env", "HF_TOKEN=hf_abc"], "--env HF_TOKEN=...: this looks like a secret, which is never sent"),
        (["--env", "AWS_ACCESS_KEY_ID=AK"], "--env AWS_ACCESS_KEY_ID=...: this looks like a secret"),
        (["--env", "PROXY=http://me:abc@proxy"], "--env PROXY=...: there are credentials in this URI"),
        (["--id", "a b"], "--id a b: an id is made of letters"),
        (["--address", "head:8265"], "head:8265: write the address of the cluster's dashboard, as http://head:8265"),
        (["--packages", "conda"], "Invalid value for '--packages'"),
    ],
)
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], job: Path, arguments: list[str], line: str) -> None:
    code, told = latentmill(capsys, "submit", job, *arguments)
    assert code == 2
    assert told.removeprefix(f"{job}:").startswith(line)
    assert "abc" not in told


def test_a_source_that_only_the_cluster_sees_is_left_to_it(capsys: pytest.CaptureFixture[str], job: Path) -> None:
    order = Order(job, ["source=/no/such/folder"])
    _, told = latentmill(capsys, "submit", job, "--set", *order.changes)
    assert told.endswith("; if only the cluster can see it, submit with `--unchecked`")
    assert check(Order(job, order.changes, checked=False)).job.name == "circles"


@pytest.mark.parametrize("command", [["submit"], ["logs"], ["stop"], ["status", "--address", ADDRESS]])
def test_nobody_answers(capsys: pytest.CaptureFixture[str], job: Path, command: list[str]) -> None:
    code, told = latentmill(capsys, *command, job)
    assert (code, told) == (
        2,
        f"{ADDRESS}: no Ray dashboard answers here; check host and port (8265 unless set otherwise)",
    )


@pytest.mark.parametrize("status", [200, 404, 500])
def test_something_else_answers(status: int) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ClusterError, match=r"^http://127\.0\.0\.1:\d+: "):
            RayJobs(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_what_answers_in_no_web_is_no_dashboard() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(ClusterError, match="no Ray dashboard answers here"):
            RayJobs(f"http://127.0.0.1:{server.getsockname()[1]}")


def test_a_log_is_shown_once_however_often_it_begins_anew() -> None:
    shown: list[str] = []
    log = _Log(shown.append)
    for connection in (["one\n", "two\n"], ["one\ntwo\nth"], [], ["one\n", "two\nthree\n", "four\n"]):
        at = 0
        for text in connection:
            log._write_from(at, text)
            at += len(text)
    log.replay("one\ntwo\nthree\nfour\n")
    assert "".join(shown) == "one\ntwo\nthree\nfour\n"


def test_the_same_options_go_to_the_cluster(job: Path) -> None:
    order = Order(job, ["source.limit=3"], ["--extend", "--take-over"])
    job_there = check(order).job
    assert _entrypoint(order, job_there, {}) == (
        "exec python3 -P -m jobs run 'a job.yaml' --extend --take-over --address auto --progress-lines "
        "--set=source.limit=3"
    )
    assert _entrypoint(order, job_there, {"sink.uri": "out"}).startswith(f"cd {job.parent} && exec python3 -P -m jobs ")


def test_models_in_folders_are_sent_by_whole_paths(job: Path) -> None:
    (job.parent / "my model").mkdir()
    order = Order(job, ["steps=[{caption: {model: ./my model}}]"])
    entrypoint = _entrypoint(order, check(order).job, {})
    assert entrypoint.endswith(f"""'--set=steps.0.caption.model="{job.parent}/my model"'""")


def test_models_of_controls_are_sent_by_whole_paths_too(job: Path) -> None:
    (job.parent / "net").mkdir()
    control = "{controlnet: {model: ./net}}"
    order = Order(
        job, [f"steps=[{{condition: {{method: canny}}}}, {{generate: {{prompt: a, controls: [{control}]}}}}]"]
    )
    checked = check(order).job
    change = f'steps.1.generate.controls.0.controlnet.model="{job.parent}/net"'
    assert f"--set={change}" in _entrypoint(order, checked, {})
    there = Order(job, [*order.changes, change])
    assert str(check(there).job.steps[1].controls[0].model) == f"{job.parent}/net"


@pytest.mark.parametrize(
    ("step", "extras"),
    [
        ("{generate: {prompt: a}}", []),
        ("{generate: {prompt: a, controls: [prompt_weighting]}}", ["weighting"]),
        ("{condition: {method: canny}}", ["conditions"]),
        ("safety", ["safety"]),
        ("{mark: {certificate: chain.pem, key_variable: SIGNING_KEY, made: generated}}", ["c2pa"]),
        ("{score: {metrics: [sharpness], image: image}}", ["scores"]),
        ("{score: {metrics: [background_lpips], image: image, lpips: alex}}", ["scores", "lpips"]),
        ("{pipeline: {class: TextToVideoSDPipeline, model: org/m, produces: video}}", ["video"]),
    ],
)
def test_optional_parts_that_a_step_needs_are_installed(job: Path, step: str, extras: list[str]) -> None:
    assert _extras(check(Order(job, [f"steps=[{step}]"])).job) == extras


def test_packages_are_installed_where_they_are_lacking() -> None:
    needed, lacking = ["python>=3.11", "ray", "click>=8.1"], {"click>=8.1": "7.0"}
    assert _installed(needed, {}, Packages.AUTO, ADDRESS) == {}
    assert [*_installed(needed, lacking, Packages.AUTO, ADDRESS)] == ["uv"]
    (pins,) = _installed(needed, {}, Packages.PIP, ADDRESS).values()
    assert [pin.partition("==")[0] for pin in pins] == ["click"]
    with pytest.raises(ClusterError, match=r"lacks click>=8\.1 \(there is 7\.0\); `--packages uv`"):
        _installed(needed, lacking, Packages.IMAGE, ADDRESS)
    with pytest.raises(ClusterError, match=r"needs ray \(there is none\)"):
        _installed(needed, {"ray": None} | lacking, Packages.UV, ADDRESS)
