"""The report in a real browser: what a person does with it, on a desk and on a phone.

Needs the extra `browser`, and Chromium, which is no Python package: `apt-get install chromium-headless-shell`, or a
Chrome that is there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jobs.reporting.page import page
from jobs.reporting.report import report
from jobs.sink.timeline import Timeline
from jobs.stores.store import Store
from tests.jobs import recoloured

CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
ROWS = 60

pytest.importorskip("playwright", reason="there is no Playwright: pip install 'latentmill[browser]'")
pytest.importorskip("axe_playwright_python", reason="there is no axe: pip install 'latentmill[browser]'")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium: apt-get install chromium-headless-shell"
)


def steps_over_time(record):
    """What a run on Ray notes of its steps."""
    clock = iter([1000.0, *(1000.0 + 30.0 * part for part in range(1, 30))])
    timeline = Timeline(lambda: next(clock))
    for part in range(1, 30):
        note = {"rows": 20 + part % 7, "began": 1000.0 + 30.0 * (part - 1), "seconds": 25.0, "card": 0.4}
        timeline.add({"steps": {"swap": note}, "rows_out": 20, "filtered": 0, "rejected": {}})
    return {"timeline": timeline.as_json(), "figures": {"swap": {"rows": 640, "rows_per_second": 0.9, "card": 0.4}}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    told = report(Store.at(recoloured.done(tmp_path_factory.mktemp("browsed"), ROWS)), price_per_hour=2.0)
    told["runs"][0] |= steps_over_time(told["runs"][0])
    return told


@pytest.fixture(scope="module")
def file(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(made), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, file):
    """Opens the page in a fresh window; in the end, it must have said and asked for nothing."""
    contexts, said, asked = [], [], []

    def open_(width=1280, height=900, scheme="light", path: Path = file):
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(path.as_uri())
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == len(contexts)


def ids(tab):
    return tab.locator("#gallery .id").all_inner_texts()


def scores_of(made, name):
    at = made["roles"]["numbers"].index(name)
    return {row["id"]: row["numbers"][at] for row in made["rows"]}


def test_rows_are_sorted_filtered_and_found(opened, made):
    tab, brightness = opened(), scores_of(made, "brightness")
    assert ids(tab)[:3] == ["table#0", "table#2", "table#3"]
    tab.select_option("#sort", "brightness")
    assert ids(tab) == sorted(brightness, key=brightness.get, reverse=True)[: len(ids(tab))]
    tab.click("#order")
    assert ids(tab)[0] == min(brightness, key=brightness.get)
    svg = tab.locator(".histogram", has_text="brightness").locator("svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    assert box
    told = made["histograms"]["of"]["brightness"]
    tallest = told["counts"].index(max(told["counts"]))
    place = (tallest + 0.5) / len(told["counts"]) * box["width"]
    svg.click(position={"x": place, "y": box["height"] / 2})
    low, high = told["edges"][tallest], told["edges"][tallest + 1]
    assert set(ids(tab)) == {row for row, value in brightness.items() if low <= value <= high}
    assert tab.locator("#matching").inner_text() == f"{len(ids(tab))} of {len(brightness)} rows match."
    tab.click("#clear")
    least = sorted(brightness.values())[-10]
    tab.get_by_label("brightness from").fill(str(least))
    tab.get_by_label("brightness from").press("Enter")
    assert set(ids(tab)) == {row for row, value in brightness.items() if value >= least}
    tab.click("#clear")
    tab.fill("#search", "number 17 swapped")
    assert ids(tab) == ["table#17"]
    tab.fill("#search", "nowhere to be found")
    assert (ids(tab), tab.locator("#matching").inner_text()[:13]) == ([], "No row matche")


def test_a_row_is_opened_by_keys_alone(opened, made):
    tab = opened(height=1400)
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.id") == "search"
    tab.locator(".card").first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft"):
        tab.keyboard.press(key)
    assert tab.evaluate("document.activeElement.querySelector('.id').textContent") == "table#2"
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.keyboard.press("Enter")
    dialog = tab.get_by_role("dialog")
    assert dialog.get_by_role("heading", level=2).inner_text() == "table#2"
    row = next(row for row in made["rows"] if row["id"] == "table#2")
    for value in (row["lineage"]["row_seed"], row["lineage"]["content_hash"], row["run"], row["texts"][0]):
        assert value in dialog.inner_text()
    assert f"latentmill replay '{made['sink']}' 'table#2'" in dialog.inner_text()
    tab.keyboard.press("ArrowRight")
    assert dialog.get_by_role("heading", level=2).inner_text() == "table#3"
    slider = dialog.get_by_role("slider")
    slider.focus()
    slider.press("End")
    assert dialog.locator(".stage").evaluate("box => box.style.getPropertyValue('--cut')") == "100%"
    tab.keyboard.press("Escape")
    assert dialog.count() == 0
    assert tab.evaluate("document.activeElement.querySelector('.id').textContent") == "table#3"
    tab.keyboard.press("End")
    assert tab.evaluate("document.activeElement.querySelector('.id').textContent") == f"table#{ROWS - 1}"


def test_untrusted_text_is_shown_as_it_is(opened):
    tab = opened()
    tab.fill("#search", "</script>")
    assert recoloured.HOSTILE.replace("\u2028", "") in tab.locator(".card .was").first.inner_text().replace(
        "\u2028", ""
    )


def test_the_pointer_wipes_from_after_to_before(opened):
    tab = opened()
    tile = tab.locator(".tile.wipe").first
    tile.hover(position={"x": 20, "y": 20})
    assert float(tile.evaluate("box => parseFloat(box.style.getPropertyValue('--cut'))")) > 5
    tab.mouse.move(2, 2)
    assert tile.evaluate("box => box.style.getPropertyValue('--cut')") == ""


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "light"),
        (1280, "dark"),
        pytest.param(390, "dark", marks=pytest.mark.long),
        pytest.param(1280, "light", marks=pytest.mark.long),
    ],
)
def test_nothing_is_wrong_by_axe_and_nothing_sticks_out(opened, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    tab = opened(width, 844, scheme)
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    for look in ("page", "row"):
        if look == "row":
            tab.locator(".card").nth(2).click()
        found = Axe().run(tab, options=rules).response
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        assert {"color-contrast", "button-name"} <= {one["id"] for one in found["passes"]}
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("document.querySelector('dialog').scrollWidth") <= width


def test_the_theme_can_be_chosen(opened):
    tab = opened(scheme="light")
    backgrounds = []
    for _ in range(3):
        backgrounds.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        tab.click("#theme")
    assert backgrounds[0] == backgrounds[1] != backgrounds[2]
