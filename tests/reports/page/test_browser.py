"""The report in a browser: Chromium without a window, keys pressed for real. Where there is none, all is skipped."""

import csv
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from photorank.cli import app
from photorank.comparisons import read_comparisons
from photorank.stages.pipeline import Failure
from photorank.stages.report import write_report
from tests.conftest import SHARED
from tests.reports.page.helpers import photos_in, ranking

webdriver = pytest.importorskip("selenium.webdriver", reason="the browser's tests need selenium")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

DRIVER = shutil.which("chromedriver")
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(
    not (DRIVER and BROWSER), reason="there is no Chromium with its driver (Debian: chromium, chromium-driver)"
)
LINUX = sys.platform.startswith("linux")
HOSTILE = [
    "<img src=x onerror=\"window.pwned='file'\">.jpg",
    "\"'>&amp;<b onclick=alert(1)>bold.jpg",
    "=HYPERLINK(1).jpg",
    "line\nbreak.jpg",
    "\u202egpj.right-to-left.jpg",
    "\udcff\udcfe no text.jpg",
]
SERIES = "</script><script>window.pwned='series'</script>"


class Page:
    """A report that is open in the browser."""

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver, self.downloads = driver, downloads

    def open(self, path: Path) -> None:
        """Show the report as it is before anything was chosen, in it or in another."""

        def is_untouched() -> bool:
            # The browser's processes hear of each other's changes late: the page may still be loaded with old ones.
            self.js("localStorage.clear()")
            self.driver.get(path.as_uri())
            return bool(self.js("return localStorage.length") == 0 and self.verdicts())

        self.driver.get(path.as_uri())
        self.wait(is_untouched)
        self.said()

    def open_again(self, path: Path, shown: Callable[[], Any]) -> None:
        """Load the report with what was chosen in it; what was kept is there at the latest in one of the next loads."""
        time.sleep(0.3)  # a page that is left at once takes with it what it has not yet told the browser

        def is_shown() -> Any:
            # Soon after its start Chromium may load a page with what it kept before, though nothing is lost: it shows
            # when that process has been idle for some seconds.
            self.driver.get(path.as_uri())
            return self.verdicts() and shown()

        self.wait(is_shown, pause=5, seconds=60)

    def js(self, code: str, *arguments: object) -> Any:
        return self.driver.execute_script(code, *arguments)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def said(self) -> list[str]:
        """What the console said since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def focused(self) -> str:
        """The name on the frame that the keyboard is at."""
        return str(self.js("return document.activeElement.querySelector('.name')?.textContent ?? ''"))

    def verdicts(self) -> dict[str, str]:
        """Name → what is said of the frame, of the frames that are drawn."""
        pairs = self.js(
            "return [...document.querySelectorAll('.frame')].map((each) =>"
            "[each.querySelector('.name').textContent, each.querySelector('.verdict').textContent])"
        )
        return dict(pairs)

    def wait(self, true: Callable[[], Any], pause: float = 0.05, seconds: float = 30) -> Any:
        until = time.monotonic() + seconds
        while not (value := true()):
            assert time.monotonic() < until, "what was waited for did not come"
            time.sleep(pause)
        return value

    def download(self, button: str, name: str) -> Path:
        file = self.downloads / name
        file.unlink(missing_ok=True)
        self.driver.find_element("id", button).click()
        # Chromium takes the name first, with nothing in it, and moves the file there when it is whole.
        self.wait(lambda: file.exists() and file.stat().st_size)
        return file


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    # Without pages that are kept for going back, each of which has its own view of what is in localStorage.
    for argument in (
        "--disable-back-forward-cache",
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1300,900",
    ):
        options.add_argument(argument)
    if LINUX and os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        yield Page(driver, downloads)
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series of three frames, one close call, one with frames larger than the window and one that is gone."""
    folder = tmp_path_factory.mktemp("report")
    small = photos_in(folder / "p", ["a1.jpg", "a2.jpg", "a3.jpg"])
    large = photos_in(folder / "q", ["b1.jpg", "b2.jpg", "b3.jpg"], (2400, 1800))
    table = ranking(
        {
            "first": [
                {"path": small[0]},
                {"path": small[1], "reasons": ["softer than the pick (sharpness −38 %)"]},
                {"path": small[2], "copies": [large[0]]},
            ],
            "second": [{"path": large[0], "keep": None}, {"path": large[1], "keep": None}, {"path": large[2]}],
        }
    )
    failures = [Failure("/p/bad.jpg", "decode", "is truncated or damaged")]
    (page,) = write_report(table, folder / "out", folder / "S", "Ranked by my-run.", failures)
    Path(large[2]).unlink()
    return page


def test_it_opens_and_says_what_the_ranker_found(page: Page, report: Path) -> None:
    page.open(report)
    head = " ".join(page.js("return document.querySelector('header').innerText").split())
    figures = "photos 6 series 2 kept 1 rejected 3 undecided 2 failed 1"
    assert head == f"photorank Ranked by my-run. {figures} 1 photo could not be ranked"
    assert page.js("return [...document.querySelectorAll('h2[id^=series]')].map((each) => each.textContent)") == [
        "first 3 frames · 1 kept",
        "second 3 frames · 0 kept · 2 undecided",
    ]
    assert page.verdicts() == {
        "a1.jpg": "✓ Keep", "a2.jpg": "✕ Reject", "a3.jpg": "✕ Reject",
        "b1.jpg": "? Undecided", "b2.jpg": "? Undecided", "b3.jpg": "✕ Reject",
    }  # fmt: skip
    text = page.js("return document.getElementById('series').innerText")
    for told in ("1 · pick", "P(best) 60 %", "softer than the pick (sharpness −38 %)", "the same photo as b1.jpg"):
        assert told in text
    page.wait(
        lambda: page.js("return [...document.querySelectorAll('.frame img')].every((each) => each.naturalWidth > 0)")
    )
    # Whatever was decided, a photo looks as it is: faded, it would seem to be badly exposed.
    shown = "return [...document.querySelectorAll('.frame img')].map((each) => getComputedStyle(each).opacity)"
    assert page.js(shown) == ["1"] * 6
    assert page.said() == []


def test_keys_move_and_choose_and_choices_stay(page: Page, report: Path) -> None:
    page.open(report)
    page.press(Keys.ARROW_RIGHT)
    assert page.focused() == "a1.jpg"  # the first key shows where one is
    page.press(Keys.ARROW_RIGHT)
    assert page.focused() == "a2.jpg"
    page.press(Keys.END, Keys.ARROW_RIGHT)
    assert page.focused() == "a3.jpg"
    page.press(Keys.HOME, Keys.ARROW_LEFT)
    assert page.focused() == "a1.jpg"
    page.press("x", Keys.ARROW_RIGHT, "k", "4")
    assert page.js("return document.getElementById('said').textContent") == "a2.jpg: keep, 4 stars."
    page.press(Keys.ARROW_DOWN)
    assert page.focused() == "b1.jpg"
    page.press("3", "K", Keys.ARROW_UP)
    assert page.focused() == "a2.jpg"  # where one was in that series
    changed = {"a1.jpg": "✕ Reject (you)", "a2.jpg": "✓ Keep (you)", "b1.jpg": "✓ Keep (you)"}
    assert {name: page.verdicts()[name] for name in changed} == changed
    stars = "return [...document.querySelectorAll('.frame')].map((each) => each.querySelectorAll('.stars .on').length)"
    assert page.js(stars) == [0, 4, 0, 3, 0, 0]
    page.open_again(report, lambda: {name: page.verdicts()[name] for name in changed} == changed)
    assert page.js(stars) == [0, 4, 0, 3, 0, 0]
    figures = page.js("return document.getElementById('figures').innerText").split()
    assert " ".join(figures) == "photos 6 series 2 kept 2 rejected 3 undecided 1 failed 1"
    page.press(Keys.ARROW_DOWN, "u")
    assert page.verdicts()["a1.jpg"] == "✓ Keep"
    page.press(Keys.ARROW_RIGHT, "0", "u")
    assert page.js(stars) == [0, 0, 0, 3, 0, 0]
    assert page.said() == []


def test_a_key_that_is_held_decides_once(page: Page, report: Path) -> None:
    page.open(report)
    page.press(Keys.ENTER)
    assert page.focused() == "a1.jpg"  # the first key only shows where one is
    assert page.js("return localStorage.length") == 0
    held = """for (const repeat of [false, true, true, true]) {
        const event = new KeyboardEvent("keydown", {key: arguments[0], repeat, bubbles: true});
        document.activeElement.dispatchEvent(event);
    }"""
    page.driver.execute_script(held, "Enter")
    assert page.focused() == "b1.jpg"
    accepted = page.js("return Object.keys(localStorage).length")
    page.press("u")
    assert page.js("return Object.keys(localStorage).length") == accepted, "the second series was not accepted"
    page.driver.execute_script(held, "ArrowUp")
    assert page.focused() == "a1.jpg"


def test_what_is_accepted_and_what_stays_undecided_is_said(page: Page, tmp_path: Path) -> None:
    paths = photos_in(tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"])
    frames = [{"path": path, "keep": None} for path in paths]
    table = ranking({"none": frames[:2], "some": [*frames[2:4], {"path": paths[4], "keep": False}], "one": frames[5:]})
    (written,) = write_report(table, tmp_path / "out", tmp_path / "S")
    page.open(written)
    said = "return document.getElementById('said').textContent"
    page.press(Keys.ARROW_RIGHT, Keys.ENTER)
    assert page.js(said) == "0 frames accepted as shown; still undecided: 2."
    assert page.js("return localStorage.length") == 0
    assert page.focused() == "c.jpg"
    page.press(Keys.ENTER)
    assert page.js(said) == "1 frame accepted as shown; still undecided: 2."
    assert page.verdicts()["e.jpg"] == "✕ Reject"
    assert page.js("return localStorage.length") == 1
    page.press("k", Keys.ENTER)
    assert page.js(said) == "1 frame accepted as shown."


def test_frames_of_a_bracket_have_no_pick(page: Page, tmp_path: Path) -> None:
    frames = [{"path": path, "keep": True} for path in photos_in(tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])]
    table = ranking({"bracket": [{**each, "bracket": "bracket"} for each in frames[:2]], "other": frames[2:]})
    (written,) = write_report(table, tmp_path / "out", tmp_path / "S")
    page.open(written)
    ranks = "return [...document.querySelectorAll('.frame .rank')].map((each) => each.textContent)"
    assert page.js(ranks) == ["1", "2", "1 · pick", "2"]


def test_two_tabs_do_not_lose_each_others_choices(page: Page, report: Path) -> None:
    page.open(report)
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    second = page.driver.current_window_handle

    def does_the_first_hear() -> bool:
        # Soon after its start Chromium may tell one tab nothing of another: then both are loaded anew.
        page.driver.switch_to.window(first)
        page.open(report)
        page.driver.switch_to.window(second)
        page.open_again(report, lambda: page.js("return localStorage.length") == 0)
        page.press(Keys.ARROW_RIGHT, "x")
        page.driver.switch_to.window(first)
        until = time.monotonic() + 5
        while page.verdicts()["a1.jpg"] != "✕ Reject (you)" and time.monotonic() < until:
            time.sleep(0.05)
        return page.verdicts()["a1.jpg"] == "✕ Reject (you)"

    try:
        page.wait(does_the_first_hear)
        page.press(Keys.ARROW_RIGHT, "5")
        (kept,) = page.js("return Object.values(localStorage)")
        assert json.loads(kept) == {"keep": False, "stars": 5}
    finally:
        page.driver.switch_to.window(second)
        page.driver.close()
        page.driver.switch_to.window(first)


def test_keys_are_left_alone_in_fields_and_with_ctrl(page: Page, report: Path) -> None:
    page.open(report)
    page.press(Keys.ARROW_RIGHT, "/", "k", "x", "1")
    assert page.js("return document.activeElement.value") == "kx1"
    assert page.verdicts()["a1.jpg"] == "✓ Keep"
    page.press(Keys.BACKSPACE * 3)
    page.js("document.querySelector('.frame').focus()")
    page.press(Keys.CONTROL + "x")
    assert page.verdicts()["a1.jpg"] == "✓ Keep"
    page.press("?")
    assert page.js("return document.getElementById('keys').open")
    page.press("x", Keys.ESCAPE)
    assert not page.js("return document.getElementById('keys').open")
    assert page.verdicts()["a1.jpg"] == "✓ Keep"


ZOOMED = """
const image = document.querySelector('#stage img'), stage = document.getElementById('stage');
if (!image) return null;
const at = new DOMMatrix(getComputedStyle(image).transform);
const middle = [(stage.clientWidth / 2 - at.e) / image.width, (stage.clientHeight / 2 - at.f) / image.height];
return [image.alt, image.width * devicePixelRatio / image.naturalWidth, ...middle, image.naturalWidth];
"""


def test_zoom_shows_the_originals_at_the_same_place(page: Page, report: Path) -> None:
    page.open(report)
    page.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, "z")
    alt, scale, x, y, width = page.wait(lambda: page.js(ZOOMED))
    assert (alt, scale, width) == ("b1.jpg at 100 %", 1, 2400)
    assert page.js("return document.getElementById('zoom-place').textContent") == "1 of 3 · P(best) 60 %"
    assert (x, y) == pytest.approx((0.5, 0.5), abs=0.001)
    page.press(Keys.SHIFT + Keys.ARROW_RIGHT)
    page.press(Keys.SHIFT + Keys.ARROW_UP)
    stage = page.driver.find_element("id", "stage")
    ActionChains(page.driver).click_and_hold(stage).move_by_offset(-50, 30).release().perform()
    _, _, x, y, _ = page.js(ZOOMED)
    moved = (260 + 50) / 2400, -(0.2 * page.js("return document.getElementById('stage').clientHeight") + 30) / 1800
    assert (x, y) == pytest.approx((0.5 + moved[0], 0.5 + moved[1]), abs=0.002)
    page.press(Keys.ARROW_RIGHT, "k")
    after = page.wait(lambda: (found := page.js(ZOOMED)) and found[0] == "b2.jpg at 100 %" and found)
    assert after[2:4] == pytest.approx((x, y), abs=0.001)
    assert page.js("return document.getElementById('zoom-verdict').textContent") == "✓ Keep"
    page.press(Keys.ARROW_RIGHT)  # its file is gone
    fallen = page.wait(lambda: (found := page.js(ZOOMED)) and found[0] == "Thumbnail of b3.jpg" and found)
    assert fallen[4] == 320
    assert "cannot show b3.jpg" in page.js("return document.getElementById('zoom-note').textContent")
    page.press("z")
    page.wait(lambda: page.focused() == "b3.jpg")
    assert page.verdicts()["b2.jpg"] == "✓ Keep (you)"
    assert all("b3.jpg" in message and "ERR_FILE_NOT_FOUND" in message for message in page.said())


SLOWLY = """
const decode = HTMLImageElement.prototype.decode;
HTMLImageElement.prototype.decode = function () {
  return new Promise((resolve) => setTimeout(resolve, 1500)).then(() => decode.call(this));
};"""


def test_zoom_never_shows_a_frame_under_the_name_of_another(page: Page, report: Path) -> None:
    page.open(report)
    page.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, "z")
    before = page.wait(lambda: page.js(ZOOMED))
    assert before[0] == "b1.jpg at 100 %"
    page.js(SLOWLY)
    page.press(Keys.ARROW_RIGHT)
    meanwhile = page.wait(lambda: (found := page.js(ZOOMED)) and found[0] != before[0] and found)
    assert meanwhile[0] == "b2.jpg is loading"
    assert meanwhile[2:4] == pytest.approx(before[2:4], abs=0.001)  # its thumbnail, at the same place
    page.press(Keys.SHIFT + Keys.ARROW_RIGHT)
    after = page.wait(lambda: (found := page.js(ZOOMED)) and found[0] == "b2.jpg at 100 %" and found)
    assert after[1] == before[1]


def test_what_is_chosen_in_the_zoom_is_said_there(page: Page, report: Path) -> None:
    page.open(report)
    page.press(Keys.ARROW_RIGHT, "z", "x")
    said = page.driver.find_element("id", "said")
    assert page.js("return arguments[0].closest('dialog')?.id", said) == "zoom"
    assert (said.text, said.is_displayed()) == ("a1.jpg: reject.", True)
    page.press("z")
    page.wait(lambda: page.focused() == "a1.jpg")
    assert page.js("return arguments[0].parentElement === document.body", said)


def test_choices_stay_when_a_series_gets_another_name(page: Page, tmp_path: Path) -> None:
    paths = photos_in(tmp_path / "p", ["a.jpg", "b.jpg"])
    both = {"path": paths[1]}
    for first in ("before", "after"):
        table = ranking({first: [{"path": paths[0]}, both], "other": [both]})
        (written,) = write_report(table, tmp_path / "out", tmp_path / "S", "Ranked.")
        if first == "before":
            page.open(written)
            page.press(Keys.ARROW_RIGHT, "x", Keys.ARROW_RIGHT, "k")
        page.open_again(written, lambda: page.verdicts()["a.jpg"] == "✕ Reject (you)")
    # A photo of several series has a choice in each.
    assert page.js("return Object.keys(localStorage).filter((name) => name.endsWith(':before')).length") == 1
    assert page.verdicts()["b.jpg"] != "✓ Keep (you)"


def test_the_mouse_does_it_too(page: Page, report: Path) -> None:
    page.open(report)
    card = page.driver.find_elements("css selector", ".frame")[1]
    for what, value in (("keep", "✓ Keep (you)"), ("reject", "✕ Reject")):
        card.find_element("css selector", f"[data-do={what}]").click()
        assert page.verdicts()["a2.jpg"] == value
    for stars in (3, 0):  # the same star again takes them away
        card.find_element("css selector", "[data-do='3']").click()
        assert page.js("return arguments[0].querySelectorAll('.on').length", card) == stars
    image = page.driver.find_elements("css selector", ".frame img")[3]
    ActionChains(page.driver).move_to_element_with_offset(image, 50, -40).double_click().perform()
    _, _, x, y, _ = page.wait(lambda: page.js(ZOOMED))
    width, height = page.js("return [arguments[0].clientWidth, arguments[0].clientHeight]", image)
    assert (x, y) == pytest.approx((0.5 + 50 / width, 0.5 - 40 / height), abs=2.5 / height)  # whole pixels


def test_the_filter_shows_undecided_changed_and_by_name(page: Page, report: Path) -> None:
    page.open(report)
    shown = "return [...document.querySelectorAll('section:not([hidden])')].map((each) => each.series.name)"

    def choose(value: str) -> list[str]:
        page.js(
            "const e = document.getElementById('show'); e.value = arguments[0]; e.dispatchEvent(new Event('change'))",
            value,
        )
        names: list[str] = page.js(shown)
        return names

    assert choose("undecided") == ["second"]
    page.press(Keys.ARROW_DOWN)
    assert page.focused() == "b1.jpg"
    page.press("k")
    assert choose("changed") == ["second"]
    page.press("u")
    assert choose("changed") == []
    assert page.js("return document.getElementById('nothing').hidden") is False
    assert choose("all") == ["first", "second"]
    field = page.driver.find_element("id", "name")
    for text, names in (("A2.JPG", ["first"]), ("b", ["second"]), ("nowhere", [])):
        field.clear()
        field.send_keys(text)
        assert page.js(shown) == names
    assert page.js("return document.getElementById('shown').textContent") == "0 of 2 series"


def test_choices_come_back_through_comparisons_csv(page: Page, report: Path, tmp_path: Path) -> None:
    page.open(report)
    page.js("document.getElementById('save-comparisons').click()")
    assert "No comparisons yet" in page.js("return document.getElementById('said').textContent")
    # The first series: the second frame instead of the first. The second: two of three rated, one of them rejected.
    page.press(
        Keys.ARROW_RIGHT, "x", Keys.ARROW_RIGHT, "k", Keys.ARROW_DOWN, "5", Keys.ARROW_RIGHT, "2", Keys.ARROW_RIGHT, "x"
    )
    choices = pd.read_csv(page.download("save-choices", "choices.csv"), keep_default_na=False, dtype=str)
    assert [Path(path).name for path in choices["path"]] == ["a1.jpg", "a2.jpg", "a3.jpg", "b1.jpg", "b2.jpg", "b3.jpg"]
    assert list(choices["series"]) == ["first"] * 3 + ["second"] * 3
    assert list(choices["ranker"]) == ["keep", "reject", "reject", "undecided", "undecided", "reject"]
    assert list(choices["choice"]) == ["reject", "keep", "", "", "", "reject"]
    assert list(choices["keep"]) == ["false", "true", "false", "", "", "false"]
    assert list(choices["stars"]) == ["", "", "", "5", "2", ""]
    file = page.download("save-comparisons", "comparisons.csv")
    columns = ["--series", "series", "--left", "left", "--right", "right", "--winner", "winner"]
    done = CliRunner().invoke(app, ["comparisons", "csv", str(file), *columns, "--out", str(tmp_path / "mine.csv")])
    assert done.exit_code == 0, done.output
    name = dict(zip(choices["key"], (Path(path).stem for path in choices["path"]), strict=True))
    read = read_comparisons(tmp_path / "mine.csv")
    preferred = {
        (name[a], name[b]) if p == 1 else (name[b], name[a])
        for a, b, p in zip(read["left"], read["right"], read["p_left"], strict=True)
    }
    assert preferred == {("a2", "a1"), ("b1", "b2")}
    assert set(read["p_left"]) <= {0.0, 1.0}
    # Enter: what is shown is right. So the kept frame is preferred to both others.
    page.press(Keys.ARROW_UP, Keys.ARROW_UP, Keys.ENTER)
    assert page.focused() == "b3.jpg"
    with page.download("save-comparisons", "comparisons.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    pairs = {frozenset((name[row["left"]], name[row["right"]])) for row in rows if row["series"] == "first"}
    assert pairs == {frozenset(("a1", "a2")), frozenset(("a2", "a3"))}
    assert {name[row[row["winner"]]] for row in rows if row["series"] == "first"} == {"a2"}
    assert [Path(row["left_path"]).stem for row in rows] == [name[row["left"]] for row in rows]


@pytest.mark.skipif(not LINUX, reason="such names need a Linux file system")
def test_hostile_names_are_text_and_run_nothing(page: Page, tmp_path: Path) -> None:
    paths = photos_in(tmp_path / "p", HOSTILE)
    reason = "<svg onload=\"window.pwned='reason'\">"
    frames = [{"path": path, "reasons": [reason], "copies": [path], "bracket": reason} for path in paths]
    failures = [Failure(f"/p/{HOSTILE[0]}", "decode", reason)]
    table = ranking({SERIES: frames[:3], "=1+1": [{**frame, "bracket": None} for frame in frames[3:]]})
    (written,) = write_report(table, tmp_path / "out", tmp_path / "S", reason, failures)
    page.open(written)
    names = page.js("return [...document.querySelectorAll('.name')].map((each) => each.textContent)")
    assert names == [*HOSTILE[:3], "line␊break.jpg", "\\u202egpj.right-to-left.jpg", "\\udcff\\udcfe no text.jpg"]
    assert page.js("return document.querySelector('h2').firstChild.textContent") == SERIES
    assert reason in page.js("return document.querySelector('.why').textContent")
    assert page.js("return document.querySelectorAll('main img').length") == len(HOSTILE)
    assert page.js("return document.querySelectorAll('[onerror], [onload], svg, main b b, main script').length") == 0
    # The originals open, whatever bytes their names are made of.
    page.press(Keys.ARROW_RIGHT)
    for row in (HOSTILE[:3], HOSTILE[3:]):
        page.press("z")
        for _ in row:
            assert page.wait(lambda: page.js(ZOOMED))[0].endswith("at 100 %")
            page.js("document.getElementById('stage').replaceChildren()")
            page.press(Keys.ARROW_RIGHT)
        page.press("z", "k", Keys.ARROW_LEFT, "x", Keys.ARROW_DOWN)
    with page.download("save-choices", "choices.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["series"] for row in rows] == [SERIES] * 3 + ["'=1+1"] * 3
    assert rows[3]["path"] == paths[3]
    with page.download("save-comparisons", "comparisons.csv").open(newline="", encoding="utf-8") as lines:
        assert [row["series"] for row in csv.DictReader(lines)] == ["'=1+1"]  # the others are frames of a bracket
    assert page.said() == []
    assert page.js("return window.pwned ?? null") is None
    # And should an element get in all the same, the policy lets nothing in it run.
    page.js(
        "const script = document.createElement('script'); script.textContent = 'window.pwned = 1';"
        "document.body.append(script);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.pwned = 2\">')"
    )
    page.wait(
        lambda: len(blocked := [each for each in page.said() if "Content Security Policy" in each]) > 0 and blocked
    )
    time.sleep(0.3)
    assert page.js("return window.pwned ?? null") is None


def test_only_what_is_near_the_window_is_drawn(page: Page, tmp_path: Path) -> None:
    (path,) = photos_in(tmp_path / "p", ["a.jpg"])
    one = {"path": path, "key": ranking({"s": [{"path": path}]})["key"][0]}
    table = ranking({f"series {number:04d}": [one, one, one] for number in range(1000)})
    (written,) = write_report(table, tmp_path / "out", tmp_path / "S")
    page.open(written)
    count = "return document.querySelectorAll('.frame').length"
    assert 3 <= page.js(count) < 120
    page.js("scrollTo(0, document.documentElement.scrollHeight)")
    last = "return [...document.querySelectorAll('section')].at(-1).querySelectorAll('img[src]').length"
    page.wait(lambda: page.js(last) == 3)
    page.wait(lambda: page.js(count) < 120)
    page.press(Keys.ARROW_DOWN, *[Keys.ARROW_DOWN] * 30)
    assert page.js("return document.activeElement.closest('section').series.name") == "series 0030"
    box = page.js("const b = document.activeElement.getBoundingClientRect(); return [b.top, b.bottom, innerHeight]")
    assert 0 <= box[0] < box[1] <= box[2]
    assert page.said() == []


def test_a_screen_reader_finds_names_for_everything(page: Page, report: Path) -> None:
    page.open(report)
    page.press(Keys.ARROW_RIGHT)
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    for role in (
        "button",
        "gridcell",
        "grid",
        "img",
        "image",
        "combobox",
        "searchbox",
        "main",
        "search",
        "region",
        "heading",
    ):
        assert all(named.get(role, [])), role
    assert "a2.jpg ✕ Reject P(best) 20 %" in named["gridcell"]
    assert named["heading"][:2] == ["photorank", "first 3 frames · 1 kept"]
    assert {"main", "search", "banner", "grid", "status"} <= set(named)


def test_dark_and_light_and_a_phone(page: Page, report: Path) -> None:
    page.open(report)
    colour = "return getComputedStyle(document.body).backgroundColor"
    seen = []
    for scheme in ("light", "dark"):
        page.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        seen.append(page.js(colour))
    assert seen == ["rgb(243, 243, 241)", "rgb(21, 21, 21)"]
    page.js("document.getElementById('theme').click()")
    assert page.js(colour) == seen[0]

    def is_kept() -> bool:
        if page.js(colour) != seen[0]:
            page.js("document.getElementById('theme').click()")
        page.open_again(report, page.verdicts)
        return bool(page.js(colour) == seen[0])

    page.wait(is_kept)
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    hint = "return document.getElementById('hint').offsetParent !== null"
    assert page.js(hint)
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        assert page.js("return document.documentElement.scrollWidth <= 360 && innerWidth === 360")
        small = (
            "return [...document.querySelectorAll('button')].filter((each) =>"
            "each.offsetParent && Math.min(each.offsetWidth, each.offsetHeight) < 24).length"
        )
        assert page.js(small) == 0
        assert not page.js(hint)
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert page.said() == []


@pytest.mark.skipif(not (SHARED / "photos").is_dir(), reason="the photos beside the checkout are not there")
def test_a_walk_around_a_castle_and_a_flight_over_a_beach(page: Page, tmp_path: Path) -> None:
    """As it is on the first day: no weights, no run, no store."""
    named = [str(SHARED / "photos" / name) for name in ("castle", "beach")]
    done = CliRunner().invoke(app, ["rank", *named, "--out", str(tmp_path / "out"), "--store", str(tmp_path / "S")])
    assert done.exit_code == 0, done.output
    page.open(tmp_path / "out" / "report.html")
    names = "each.series.frames.map((frame) => frame.name)"
    series = page.js(f"return [...document.querySelectorAll('section')].map((each) => {names})")
    assert [len(names) for names in series] == [11, 4, 2]
    assert set(series[0]) == {path.name for path in (SHARED / "photos" / "castle").iterdir()}
    assert sorted(series[2]) == ["DJI_0030.JPG", "DJI_0031.JPG"]
    page.wait(lambda: page.js("return [...document.querySelectorAll('.frame img')].every((each) => each.naturalWidth)"))
    assert list(page.verdicts().values()) == [
        "✓ Keep" if place == 0 else "✕ Reject" for names in series for place in range(len(names))
    ]
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, "k", "5")
    assert page.focused() == series[2][1]
    assert page.verdicts()[series[2][1]] == "✓ Keep (you)"
    page.press("z")
    alt, scale, _, _, width = page.wait(lambda: page.js(ZOOMED))
    assert (alt, scale) == (f"{series[2][1]} at 100 %", 1)
    assert width > 2000
    page.press("x", "z", Keys.ENTER)
    rows = pd.read_csv(page.download("save-comparisons", "comparisons.csv"))
    assert [Path(row[f"{row['winner']}_path"]).name for _, row in rows.iterrows()] == [series[2][0]]
    assert page.said() == []


LOADED = "return performance.getEntriesByType('navigation')[0].loadEventEnd"


@pytest.mark.slow
def test_ten_thousand_photos_open_in_three_seconds(page: Page, tmp_path: Path) -> None:
    from photorank.photos.thumbnails import Thumbnails

    (path,) = photos_in(tmp_path / "p", ["a.jpg"], (1600, 1200))
    one = ranking({"s": [{"path": path}]})
    write_report(one, tmp_path / "one", tmp_path / "S")
    thumbnail = Thumbnails(tmp_path / "S").read(bytes.fromhex(one["key"][0]))
    assert thumbnail
    series: dict[str, list[dict[str, Any]]] = {}
    for number in range(10_000):
        key = number.to_bytes(32, "big")
        file = Thumbnails(tmp_path / "S").path(key)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(thumbnail)
        frame = {"path": path, "key": key.hex(), "reasons": ["softer than the pick (sharpness −38 %)"]}
        series.setdefault(f"series {number // 4}", []).append(frame)
    pages = write_report(ranking(series), tmp_path / "out", tmp_path / "S")
    for written in pages:
        assert written.stat().st_size < 60e6
        page.open(written)
        assert 0 < page.wait(lambda: page.js(LOADED)) < 3000
        assert page.js("return document.querySelectorAll('.frame img[src]').length") > 0
        assert page.said() == []
