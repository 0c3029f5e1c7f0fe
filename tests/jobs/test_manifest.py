"""The command ``latentmill manifest``, and schedules that are given as examples."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from cluster.manifests import Kind, Options, manifest
from jobs.cli import cli, main

ROOT = Path(__file__).parents[2]
SCHEDULES = ROOT / "examples" / "schedules"
JOB = "name: circles\nsource: s3://photos/2026/\nsteps: [caption]\nsink: s3://out/circles/  # kept\n"


def latentmill(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path


@pytest.mark.parametrize("kind", list(Kind))
def test_the_manifest_of_a_job_file_goes_to_standard_output(
    capsys: pytest.CaptureFixture[str], job: Path, kind: Kind
) -> None:
    options = ["--workers", 3, "--gpus", 2, "--service-account", "mill", "--schedule", "@hourly"]
    asked = ["manifest", job, "--kind", kind, "--image", "example.org/mill:1", *options, "--time-zone", "Europe/Berlin"]
    code, out, err = latentmill(capsys, *asked)
    assert (code, err) == (0, "")
    assert out == manifest(
        kind, "circles", JOB, Options("example.org/mill:1", 3, 2, "mill", "@hourly", "Europe/Berlin")
    )
    assert all(yaml.safe_load_all(out))


@pytest.mark.parametrize(
    ("changed", "arguments", "line"),
    [
        ("steps: [caption]", [], ""),
        ("sink: out", [], "job.yaml:4: sink.uri: 'out' is a relative path, and pods have none of your folders; write"),
        ("sink: ~/out", [], "job.yaml:4: sink.uri: `~` is another folder on the cluster"),
        ("source: photos", [], "job.yaml:2: source.uri: 'photos' is a relative path"),
        ("steps: [{caption: {model: ./mine}}]", [], "job.yaml:3: steps.0.caption.model: './mine' is a relative path"),
        ("steps: [blur]", [], "job.yaml:3: steps.0: there is no operator 'blur'"),
        ("sink: s3://me:secret@out/", [], "job.yaml:4: sink.uri: there are credentials in this URI"),
        ("name: a", ["--kind", "helm"], "Invalid value for '--kind': 'helm' is not one of"),
        ("name: a", ["--kind", "raycronjob", "--schedule", "nightly"], "'nightly' is no schedule; it has five fields"),
        ("name: a", ["--workers", "0"], "Invalid value for '--workers'"),
    ],
)
def test_a_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str],
    job: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: str,
    arguments: list[str],
    line: str,
) -> None:
    key = changed.partition(":")[0]
    job.write_text(re.sub(rf"^{key}:.*$", changed, JOB, flags=re.MULTILINE))
    monkeypatch.chdir(job.parent)
    code, out, err = latentmill(capsys, "manifest", "job.yaml", "--kind", "rayjob", "--image", "a", *arguments)
    assert (code, bool(out)) == ((2, False) if line else (0, True))
    assert err.removeprefix("latentmill: ").startswith(line)
    assert err.count("\n") == bool(line)
    assert "secret" not in err


def commands() -> list[str]:
    """Every command line that a schedule in examples/ starts."""
    dag = ast.parse((SCHEDULES / "airflow_nightly.py").read_text())
    given = [
        keyword.value.value
        for node in ast.walk(dag)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "bash_command" and isinstance(keyword.value, ast.Constant)
    ]
    for entry in (SCHEDULES / "crontab").read_text().splitlines():
        if not entry.startswith("#"):
            *times, command = entry.split(maxsplit=5)
            assert all(re.fullmatch(r"[\d*/,-]+", time) for time in times)
            given.append(command)
    for kind in (Kind.CRONJOB, Kind.RAYCRONJOB):
        resources = list(yaml.safe_load_all(manifest(kind, "a", JOB, Options("a"))))
        given += [shlex.join(found) for found in _found(resources, "command")] + _found(resources, "entrypoint")
    return [part for command in given for part in re.split(r"&&|>>", command) if "latentmill " in part]


def _found(value: object, key: str) -> list:
    below = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    here = [value[key]] if isinstance(value, dict) and key in value else []
    return here + [found for each in below for found in _found(each, key)]


@pytest.mark.parametrize("command", commands())
def test_what_schedules_start_is_a_command_of_latentmill(command: str) -> None:
    program, name, *arguments = shlex.split(command.replace("{{ var.value.ray_address }}", "http://head:8265"))
    assert program == "latentmill"
    context = click.Context(cli)
    cli.commands[name].make_context(name, arguments, parent=context).close()


def test_every_schedule_was_found() -> None:
    assert len(commands()) == 5
