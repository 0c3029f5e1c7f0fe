import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, sys
from jobs.quiet import others_held_back
from operators.errors import UserError
try:
    with others_held_back() as real:
        os.write(1, b"noise on standard output\\n")
        os.write(2, b"native noise\\n")
        print("more of it")
        print("python noise", file=sys.stderr)
        print("ours", file=real)
        {ending}
except (RuntimeError, UserError):
    pass
print("after", file=sys.stderr)
print("told")
"""
NOISE = ["noise on standard output", "native noise", "more of it", "python noise"]


@pytest.mark.parametrize(
    ("ending", "shown"),
    [
        ("pass", ["ours", "after"]),
        ("raise UserError('no')", ["ours", "after"]),
        ("raise RuntimeError('bug')", ["ours", *NOISE, "after"]),
    ],
)
def test_noise_is_shown_only_where_something_failed(ending, shown):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(ending=ending)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "told\n"
    assert done.stderr.splitlines() == shown
