import io

from rich.console import Console

from jobs.report import Summary, progress


def report(**changes):
    return {
        "rows_in": 4,
        "rows_out": 6,
        "filtered": 1,
        "rejected": {"image_empty": 1},
        "began": 10.0,
        "ended": 14.0,
        "steps": {"caption": {"rows": 4, "seconds": 2.0, "weights": {"builtin:blip": "ab"}}},
    } | changes


def test_reports_of_parts_add_up():
    summary = Summary("run", "out")
    summary.add(report())
    summary.add(report(began=8.0, ended=16.5, rejected={"image_empty": 1, "not_finite": 2}))
    figures = summary.as_json()
    assert (figures["rows_in"], figures["rows_out"], figures["filtered"], figures["parts"]) == (8, 12, 2, 2)
    assert figures["rejected"] == {"image_empty": 2, "not_finite": 2}
    assert figures["steps"]["caption"] == {"rows": 8, "seconds": 4.0, "rows_per_second": 2.0}
    assert figures["working_seconds"] == 8.5
    assert figures["weights"] == {"builtin:blip": "ab"}


def test_the_greatest_share_of_a_card_is_told():
    summary = Summary("run", "out")
    for card in (0.123, 0.321, 0.1, None):
        summary.add(report(steps={"caption": {"rows": 4, "seconds": 2.0, "weights": {}, "card": card}}))
    assert summary.as_json()["steps"]["caption"]["card"] == 0.321
    assert str(summary.steps["caption"]) == "2.0 rows/s an actor, 32% of its card"


def test_the_end_is_told_in_words():
    summary = Summary("run", "out", rows_before=3)
    summary.add(report())
    out = io.StringIO()
    summary.show(Console(file=out, width=80))
    text = out.getvalue()
    for line in ("rows in     4  (+ 3 before)", "rows out    6", "1  image_empty", "caption     2.0 rows/s", "out"):
        assert line in text


def test_progress_is_a_bar_on_a_terminal_and_elsewhere_a_line_or_nothing():
    for kind in ({"force_terminal": True}, {}, {"quiet": True}):
        out = io.StringIO()
        summary = Summary("run", "out", rows_before=2)
        with progress(summary, 8, Console(file=out, width=80, **kind)) as shown:
            summary.add(report())
            shown()
            shown()
        told = out.getvalue()
        if "quiet" in kind:
            assert told == ""
        elif kind:
            assert "6/8" in told
            assert "1 rejected" in told
        else:
            assert told.startswith("6 of 8 rows (75%), 1 rejected, ")
            assert told.endswith(" rows/s\n")
            assert told.count("\n") == 1
