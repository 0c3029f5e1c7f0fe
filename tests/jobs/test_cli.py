"""The command line: what it prints, its exit codes, and how soon it answers."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import Job
from jobs.cli import main
from jobs.sink import ledger
from jobs.sink.ledger import Start
from jobs.stores.store import Store
from operators import KINDS
from operators.controls import CONTROLS

JOB = """
name: quickstart
source: builtin:shapes?rows=24
steps:
  - caption
  - generate: {prompt: {column: caption}, images_per_row: 2}
sink: out
"""

HEAVY = ("torch", "ray", "diffusers", "transformers", "pandas", "scipy", "rich", "s3fs", "pyarrow.dataset")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(JOB.lstrip())
    return path


def latentmill(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def test_plan_says_what_would_be_done(capsys: pytest.CaptureFixture[str], job: Path) -> None:
    code, out, err = latentmill(capsys, "plan", job)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "quickstart: builtin:shapes?rows=24&seed=0 -> out"
    assert lines[4].split() == ["caption", "builtin:blip", "(built", "in)", "image", "caption"]
    assert lines[5].endswith("generated_image, generated_image_truncated (1 -> 2 rows)")
    assert lines[-1].startswith("rows 24 -> 48, parts 1, plan ")
    assert {path.name for path in job.parent.iterdir()} == {"job.yaml"}


def test_plan_as_json(capsys: pytest.CaptureFixture[str], job: Path) -> None:
    code, out, _ = latentmill(capsys, "plan", job, "--json", "--limit", 5, "--set", "sink.part_rows=2")
    told = json.loads(out)
    assert code == 0
    assert (told["rows"], told["rows_out"], told["parts"]) == (5, 10, 3)
    assert told["steps"][1]["reads"] == {"caption": "text"}
    assert told["columns"]["generated_image"] == "struct<bytes: binary, path: string>"
    assert told["job"]["steps"][0]["caption"]["model"] == "builtin:blip"


def test_operators_are_listed_with_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = latentmill(capsys, "operators")
    listed = [line.split()[:2] for line in out.splitlines()]
    assert [words[0] for words in listed] == [kind for kind, specs in KINDS.items() for _ in specs]
    assert ["edit", "pix2pix_zero"] in listed
    _, out, _ = latentmill(capsys, "operators", "caption")
    options = {line.split()[0]: line for line in out.splitlines()[3:]}
    assert options["num_beams"].split(maxsplit=2)[1:] == [
        "1",
        "captions searched side by side; 1 takes the likeliest word",
    ]
    assert "sampling.temperature" in options
    assert options["prefix"].endswith("(or column)")
    _, out, _ = latentmill(capsys, "operators", "caption", "--json")
    assert json.loads(out)["caption"]["properties"]["num_beams"]["default"] == 1


def test_an_option_that_one_method_has_otherwise_is_shown_for_all_and_for_that_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = latentmill(capsys, "operators", "edit")
    common, *_ = [block for block in out.split("\n\n") if block.startswith("option")]
    instruct = out.partition("edit, method instruct")[2].partition("edit, method")[0]
    assert "\nmodel " in common
    assert "builtin:stable-diffusion" in common
    assert "timbrooks/instruct-pix2pix" in instruct
    assert out.count("\nmodel ") == 2


def test_controls_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = latentmill(capsys, "controls")
    assert [line.split()[0] for line in out.splitlines()] == list(CONTROLS)


@pytest.mark.parametrize("control", CONTROLS)
def test_every_option_of_a_control_is_described(capsys: pytest.CaptureFixture[str], control: str) -> None:
    _, out, _ = latentmill(capsys, "controls", control)
    assert len(out.splitlines()) > 3
    assert all(len(line.split()) > 3 for line in out.splitlines()[2:] if line)


@pytest.mark.parametrize("operator", KINDS)
def test_every_option_is_described(capsys: pytest.CaptureFixture[str], operator: str) -> None:
    _, out, _ = latentmill(capsys, "operators", operator)
    assert all(len(line.split()) > 3 for line in out.splitlines()[2:] if line)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["plan"], "latentmill: Missing argument 'JOB_FILE'; see `"),
        (["plna"], "latentmill: No such command 'plna'"),
        (["plan", "x.yaml", "--limt", "3"], "latentmill: No such option '--limt'"),
        (
            ["plan", "x.yaml", "--limit", "0"],
            "latentmill: Invalid value for '--limit': 0 is not in the range x>=1; see `",
        ),
        (["plan", "x.yaml"], "latentmill: x.yaml: can't read the job file: No such file or directory; check its path"),
        (["controls", "segga"], "latentmill: there is no control 'segga'; did you mean 'sega'?"),
        (["operators", "captoin"], "latentmill: there is no operator 'captoin'; did you mean 'caption'?"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    code, out, err = latentmill(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(line)
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"]])
def test_help_is_no_mistake(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out, err = latentmill(capsys, *arguments)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: ")


def test_a_bug_stays_a_traceback(job: Path) -> None:
    code = f"import jobs.jobfile, jobs.cli; jobs.jobfile.make_plan = None; jobs.cli.main(['plan', {str(job)!r}])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback")


def heeding_interrupts() -> None:
    """A process that a shell starts in the background ignores interrupts, and so do those that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupted_it_says_so(tmp_path: Path) -> None:
    pipe = tmp_path / "job.yaml"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", "plan", str(pipe)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeding_interrupts,
    )
    with pipe.open("w"):  # opens when the other side reads
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.strip() == "latentmill: stopped; what was committed is kept, and running it again goes on from there"


def test_plan_imports_nothing_heavy(job: Path) -> None:
    code = f"""
import sys
from jobs import Job
from jobs.sink import ledger
from jobs.cli import main
from jobs.sink.ledger import Start
from jobs.stores.store import Store
from operators import KINDS
from operators.controls import CONTROLS
try:
    main(["plan", {str(job)!r}])
except SystemExit as ended:
    print(ended.code or 0, [name for name in {HEAVY} if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "0 []"


def test_plan_answers_in_under_a_second(job: Path) -> None:
    """Seconds of the processor, which other programs on the machine don't add to; the best of three."""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "jobs", "plan", str(job)], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < 1


def test_another_plan_is_refused_with_what_differs_and_the_ways_out(
    capsys: pytest.CaptureFixture[str], job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(job.parent)
    plan = Job.from_yaml(job).plan()
    start = Start("first", plan.fingerprint, plan=plan.decisive)
    ledger.settle(ledger.claim(Store.at("out"), start, 0), start)
    code, out, err = latentmill(capsys, "run", job, "--set", "seed=7", "--set", "steps.0.caption.num_beams=3")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        f"latentmill: {job}:6: sink: {job.parent / 'out'}: holds rows of another plan; they differ in",
        "  steps.0.caption.num_beams: 1 -> 3",
        "  seed: 0 -> 7",
        "`--extend` keeps them and does new source rows by this plan, `--overwrite` makes everything anew; "
        "or write elsewhere",
    ]
