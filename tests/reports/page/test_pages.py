"""The files of a report, without a browser: whole, alone, split where large, and made once."""

import base64
import hashlib
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photorank.errors import RunError
from photorank.photos.thumbnails import Thumbnails
from photorank.reports import page as package
from photorank.reports.page import Head, write_pages
from photorank.stages import report as stage
from photorank.stages.pipeline import Failure
from photorank.stages.report import write_report
from tests.reports.page.helpers import data_of, photos_in, ranking

CSS = (Path(package.__file__).parent / "report.css").read_text(encoding="utf-8")


class Parsed(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.tags[-1][0] if self.tags else "", data))


def test_a_ranking_as_rank_wrote_it_before_it_had_reasons(tmp_path: Path) -> None:
    paths = photos_in(tmp_path / "p", ["a.jpg", "b.jpg"])
    table = ranking({"s": [{"path": path} for path in paths]})
    (page,) = write_report(
        table[["path", "key", "series", "rank", "score", "p_best", "keep"]], tmp_path, tmp_path / "S"
    )
    (series,) = data_of(page)["series"]
    assert [(frame["name"], frame["keep"], frame["reasons"]) for frame in series["frames"]] == [
        ("a.jpg", True, []), ("b.jpg", False, []),
    ]  # fmt: skip


def test_what_a_table_says_is_in_the_page(tmp_path: Path) -> None:
    a, b, c = photos_in(tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg"])
    frames = [
        {"path": a, "keep": None},
        {"path": b, "keep": None, "reasons": ["softer than the pick (sharpness −38 %)"], "copies": [c]},
        {"path": c, "keep": True, "bracket": "bracket 1", "p_best": float("nan")},
    ]
    failures = [Failure(str(tmp_path / "bad.jpg"), "decode", "is truncated or damaged")]
    table = ranking({"s": frames})
    table.to_parquet(tmp_path / "table.parquet")  # what comes back holds arrays for lists
    for each in (table, pd.read_parquet(tmp_path / "table.parquet")):
        (page,) = write_report(each, tmp_path / "out", tmp_path / "S", "Ranked by my-run.", failures)
        data = data_of(page)
        assert page == tmp_path / "out" / "report.html"
        assert data["about"] == "Ranked by my-run."
        assert data["figures"] == {"photos": 3, "series": 1, "keep": 1, "reject": 0, "undecided": 2}
        assert data["failures"] == [{"path": str(tmp_path / "bad.jpg"), "error": "is truncated or damaged"}]
        one, two, three = data["series"][0]["frames"]
        assert [frame["keep"] for frame in (one, two, three)] == [None, None, True]
        assert two["reasons"] == ["softer than the pick (sharpness −38 %)"]
        assert two["copies"] == ["c.jpg"]
        assert (three["bracket"], three["p"], "bracket" in one) == ("bracket 1", None, False)


def test_the_page_needs_nothing_else_and_allows_its_own_script_only(tmp_path: Path) -> None:
    paths = photos_in(tmp_path / "p", ["a.jpg", "b.jpg"])
    (page,) = write_report(ranking({"s": [{"path": path} for path in paths]}), tmp_path, tmp_path / "S")
    parsed = Parsed(page)
    (policy,) = [each["content"] or "" for tag, each in parsed.tags if each.get("http-equiv")]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    (script,) = re.findall(r"<script>(.*?)</script>", page.read_text("utf-8"), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    for _, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style")]
        assert (attributes.get("href") or "#").startswith("#")
    assert "http://" not in page.read_text("utf-8")
    assert "https://" not in page.read_text("utf-8")
    kept = Thumbnails(tmp_path / "S")
    (pictures,) = [text for tag, text in parsed.texts if text.startswith("/9j/")]
    keys = [bytes.fromhex(frame["key"]) for frame in data_of(page)["series"][0]["frames"]]
    assert [base64.b64decode(line) for line in pictures.split("\n")] == [kept.read(key) for key in keys]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: "\0" not in name))
@settings(max_examples=80, deadline=None)
def test_no_text_gets_out_of_the_data(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    hostile = f"</script><!-- {text} {{{{thumbnails}}}} {{{{data}}}} {{{{script}}}}\u2028<script>"
    folder = tmp_path_factory.getbasetemp() / "texts"
    frame = {
        "path": f"/nowhere/{hostile}",
        "key": "00" * 32,
        "reasons": [hostile],
        "copies": [hostile],
        "bracket": hostile,
    }
    head = Head(hostile, [(hostile, hostile)], {"00" * 32: hostile})
    (page,) = write_pages(ranking({hostile: [frame]}), folder, Thumbnails(folder), head)
    data = data_of(page)
    (series,) = data["series"]
    (shown,) = series["frames"]
    assert {series["name"], data["about"], *shown["reasons"], shown["bracket"], shown["missing"]} == {hostile}
    assert shown["copies"] == [Path(hostile).name]
    assert data["failures"] == [{"path": hostile, "error": hostile}]
    assert shown["path"] == f"/nowhere/{hostile}"
    raw = page.read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0]
    assert not re.search("[<>&\u2028\u2029]", raw)
    assert [tag for tag, _ in Parsed(page).tags].count("script") == 3  # data, script, thumbnails of one series


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="such names need a Linux file system")
def test_names_that_are_no_text_are_escaped_and_their_urls_hold_the_bytes(tmp_path: Path) -> None:
    (path,) = photos_in(tmp_path / "p\udcfe", ["\udcff #?%.jpg"])
    (page,) = write_report(ranking({"p\udcfe": [{"path": path}]}), tmp_path / "out", tmp_path / "S")
    (series,) = data_of(page)["series"]
    (frame,) = series["frames"]
    assert (series["name"], frame["name"]) == (r"p\udcfe", r"\udcff #?%.jpg")
    assert frame["url"].endswith("/p%FE/%FF%20%23%3F%25.jpg")


def test_a_second_report_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = photos_in(tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg"])
    table = ranking({"s": [{"path": path} for path in paths]})
    asked: list[list[str]] = []
    really = stage.each
    monkeypatch.setattr(
        stage, "each", lambda work, paths, *rest: asked.append(list(paths)) or really(work, paths, *rest)
    )
    seen: list[tuple[int, int, int]] = []
    (page,) = write_report(table, tmp_path / "out", tmp_path / "S", progress=lambda *done: seen.append(done))
    first = page.read_bytes()
    assert seen[-1] == (3, 3, 0)
    write_report(table, tmp_path / "out", tmp_path / "S")
    assert page.read_bytes() == first
    one = Thumbnails(tmp_path / "S").path(bytes.fromhex(table["key"][1]))
    one.write_bytes(one.read_bytes()[:-1])  # as a power cut may leave it
    write_report(table, tmp_path / "out", tmp_path / "S")
    assert page.read_bytes() == first
    assert asked == [paths, [], [paths[1]]]


def test_a_photo_that_is_damaged_gone_or_changed_costs_its_own_thumbnail(tmp_path: Path) -> None:
    fine, damaged, gone, changed = photos_in(tmp_path / "p", ["fine.jpg", "damaged.jpg", "gone.jpg", "changed.jpg"])
    Path(damaged).write_bytes(Path(damaged).read_bytes()[:400])
    table = ranking({"s": [{"path": path} for path in (fine, damaged, gone, changed)]})
    Path(gone).unlink()
    Path(changed).write_bytes(Path(fine).read_bytes())
    (page,) = write_report(table, tmp_path / "out", None)
    told = {frame["name"]: frame.get("missing") for frame in data_of(page)["series"][0]["frames"]}
    assert told["fine.jpg"] is None
    assert (told["damaged.jpg"] or "").startswith("is truncated or damaged")
    assert told["gone.jpg"] == "cannot be read (No such file or directory)"
    assert told["changed.jpg"] == "was changed after it was ranked"
    (pictures,) = [text for _, text in Parsed(page).texts if text.startswith("/9j/")]
    assert [bool(line) for line in pictures.split("\n")] == [True, False, False, False]


def test_a_large_ranking_is_split_between_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = photos_in(tmp_path / "p", [f"{number}.jpg" for number in range(12)])
    table = ranking({f"s{number}": [{"path": path} for path in paths[3 * number :][:3]] for number in range(4)})
    out = tmp_path / "out"
    (page,) = write_report(table, out, tmp_path / "S")
    whole = data_of(page)["series"]
    monkeypatch.setattr(package, "PAGE_BYTES", 40_000)
    pages = write_report(table, out, tmp_path / "S")
    assert [path.name for path in pages] == ["report.html", "report-2.html", "report-3.html", "report-4.html"][
        : len(pages)
    ]
    assert len(pages) > 1
    datas = [data_of(path) for path in pages]
    assert [series for data in datas for series in data["series"]] == whole
    assert [data["page"] for data in datas] == list(range(len(pages)))
    for data in datas:
        assert data["pages"] == [path.name for path in pages]
        assert data["figures"]["photos"] == 12
    # A shorter report deletes what is left of the longer one, and nobody else's file of such a name.
    (out / "report-7.html").write_text("mine")
    monkeypatch.undo()
    write_report(table, out, tmp_path / "S")
    assert sorted(path.name for path in out.iterdir()) == ["report-7.html", "report.html"]


def test_a_report_that_cannot_be_written_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = photos_in(tmp_path / "p", ["a.jpg"])
    table = ranking({"s": [{"path": path}]})
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"the report cannot be written to .*file: .*; name another --out"):
        write_report(table, tmp_path / "file", tmp_path / "S")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(package, "_write_page", full)
    with pytest.raises(RunError, match="No space left on device"):
        write_report(table, tmp_path / "out", tmp_path / "S")
    assert list((tmp_path / "out").iterdir()) == []


def luminance(colour: str) -> float:
    """Relative luminance of a colour `#rrggbb` (WCAG 2.2)."""
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [(front, back, 4.5) for front in ("text", "soft", "keep", "reject", "undecided") for back in ("card", "page")]
    + [("edge", "card", 3.0), ("edge", "page", 3.0), ("accent", "page", 4.5)],
)
def test_colours_are_told_apart(theme: int, front: str, back: str, least: float) -> None:
    """Contrast as WCAG 2.2 AA asks for: 4.5 of texts, 3 of the edges of what can be pressed."""
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", CSS)
    colours = {name: (light, dark)[theme] for name, light, dark in pairs}
    bright, dim = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= least
