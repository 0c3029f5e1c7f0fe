"""How a run goes, on a terminal and in lines."""

from __future__ import annotations

import io
import re

from rich.console import Console

from jobs.progress import Progress, progress
from jobs.summary import Summary
from tests.jobs.test_summary import report


def shown(rows, **kind):
    """What is printed when one part of four rows has been committed after two that were done before."""
    out, summary = io.StringIO(), Summary("run", "out", rows_before=2)
    with progress(summary, rows, Console(file=out, width=100, **kind)) as update:
        summary.add(report(rejected={"image_empty": 1, "not_finite": 2}))
        update()
        update()
    return out.getvalue()


def test_progress_is_a_bar_with_a_table_on_a_terminal():
    told = shown(8, force_terminal=True)
    for figure in ("6/8", "1.0 rows/s", "2 s left", "6 accepted, 1 filtered, 3 rejected (2 not_finite, 1 image_empty)"):
        assert figure in told
    words = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told)
    assert "  caption  4 rows    2.0 rows/s an actor" in words


def test_progress_is_lines_where_there_is_no_terminal_and_nothing_if_quiet():
    assert shown(8) == (
        "6 of 8 rows (75%), 6 accepted, 1 filtered, 3 rejected (2 not_finite, 1 image_empty), 1.0 rows/s, 2 s left\n"
    )
    assert shown(None).startswith("6 rows, 6 accepted, ")
    assert shown(8, quiet=True) == ""


def test_speed_and_time_left_are_by_the_last_minute():
    summary, clock = Summary("run", "out"), [0.0]
    now = Progress(summary, 100, clock=lambda: clock[0])
    assert (now.rate, now.seconds_left) == (None, None)
    for clock[0] in (0.0, 30.0, 60.0, 90.0):
        summary.add(report(began=0.0, ended=clock[0] + 10.0))
        now.update()
        if not clock[0]:
            assert now.rate == 0.4
    # Since the second of them, 8 rows in 60 seconds.
    assert (now.rate, now.seconds_left, now.steps) == (0.133, round(84 / 0.133, 3), {"caption": 0.133})
