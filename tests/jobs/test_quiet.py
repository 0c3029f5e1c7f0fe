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
        os.write(2, b"native noise\\n")
        print("python noise", file=sys.stderr)
        print("ours", file=real)
        {ending}
except (RuntimeError, UserError):
    pass
print("after", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("ending", "shown"),
    [
        ("pass", ["ours", "after"]),
        ("raise UserError('no')", ["ours", "after"]),
        ("raise RuntimeError('bug')", ["ours", "native noise", "python noise", "after"]),
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
    assert done.stderr.splitlines() == shown
