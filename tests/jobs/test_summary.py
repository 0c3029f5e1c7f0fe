import io

from rich.console import Console

from jobs.summary import Summary


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


def test_an_actor_is_held_from_its_beginning_to_the_end_of_its_last_part():
    summary = Summary("run", "out")
    for actor, began, ended in (("a", 100.0, 900.0), ("b", 100.0, 500.0), ("a", 100.0, 1900.0)):
        held = {"actor": actor, "host": f"node-{actor}", "began": began, "ended": ended}
        summary.add(report(actors={"caption": held}))
    told = summary.as_json()
    assert (told["stages"], told["hosts"]) == ({"caption": {"actors": 2, "hours": round(2200 / 3600, 6)}}, 2)
