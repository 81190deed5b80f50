"""Pages in Chromium: they are accessible, fit a phone, print, ask the network nothing, and run nobody's markup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from keel.reports import html
from keel.reports.backtest import build_page
from keel.reports.check import page as page_of_check
from keel.reports.page import ColumnCards, Paragraph, Section
from tests.support.backtest.result import result
from tests.support.checks.cases import traps
from tests.support.reports.browser import Theme, opened
from tests.support.reports.sample_page import MARKUP, every_block, many_columns

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
PHONE = 360
GRAVE = {"serious", "critical"}


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every block and every chart, and more columns than are found without a search."""
    page = every_block()
    more = tuple(replace(card, name=f"{card.name}_{i}") for card in _cards(page) for i in range(3))
    extra = Section("More columns", (ColumnCards((*_cards(page), *more)),))
    file = tmp_path_factory.mktemp("pages") / "every.html"
    file.write_text(html.render(replace(page, sections=(*page.sections, extra))), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 5,000 columns."""
    file = tmp_path_factory.mktemp("pages") / "wide.html"
    file.write_text(html.render(many_columns()), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def hundreds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 500 columns: axe takes half a minute for 5,000."""
    file = tmp_path_factory.mktemp("pages") / "hundreds.html"
    file.write_text(html.render(many_columns(500)), encoding="utf-8")
    return file


def _cards(page: Any) -> tuple[Any, ...]:
    blocks = (block for section in page.sections for block in section.blocks)
    return next(block.cards for block in blocks if isinstance(block, ColumnCards))


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a check with every trap of statistics."""
    file = tmp_path_factory.mktemp("pages") / "traps.html"
    file.write_text(html.render(page_of_check(traps())), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def backtest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a backtest."""
    file = tmp_path_factory.mktemp("pages") / "backtest.html"
    file.write_text(html.render(build_page(result())), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("which", "theme"),
    [("every", "light"), ("every", "dark"), ("check", "dark"), ("hundreds", "light"), ("backtest", "dark")],
)
def test_page_has_no_grave_violation_of_accessibility(
    browser: Browser, which: str, theme: Theme, request: pytest.FixtureRequest
):
    with opened(browser, request.getfixturevalue(which), theme=theme) as page:
        unfold(page)
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    grave = {violation["id"]: violation["nodes"][0]["html"] for violation in found if violation["impact"] in GRAVE}
    assert grave == {}


def test_axe_finds_what_a_page_must_not_have(browser: Browser, every: Path):
    with opened(browser, every) as page:
        page.evaluate("document.querySelector('.lead').style.color = '#ccc'")
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert "color-contrast" in {violation["id"] for violation in found if violation["impact"] in GRAVE}


def test_page_asks_for_nothing_but_itself(browser: Browser, every: Path):
    requests: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.goto(every.as_uri())
    unfold(page)
    page.wait_for_load_state("networkidle")
    page.close()
    assert requests == [every.as_uri()]


def test_policy_of_a_page_blocks_what_markup_of_others_would_ask_for(browser: Browser, every: Path):
    failures: dict[str, str | None] = {}
    page = browser.new_page()
    page.goto(every.as_uri())
    page.on("request", lambda request: failures.update({request.url: None}))
    page.on("requestfailed", lambda request: failures.update({request.url: request.failure}))
    blocked = page.evaluate(
        """async () => {
            const blocked = [];
            addEventListener("securitypolicyviolation", event => blocked.push(event.effectiveDirective));
            document.body.insertAdjacentHTML("beforeend",
                `<img src="http://127.0.0.1:9/a.png" onerror="document.title='ran'"><p style="color: red">`);
            const script = document.createElement("script");
            script.textContent = "document.title = 'ran'";
            document.body.append(script);
            await new Promise(done => setTimeout(done, 200));
            return blocked;
        }"""
    )
    assert {"img-src", "script-src-elem", "script-src-attr", "style-src-attr"} <= set(blocked)
    assert page.title() != "ran"
    assert failures == {"http://127.0.0.1:9/a.png": "csp"}  # and not that there is no server
    page.close()


def test_column_that_is_named_like_markup_is_a_text(browser: Browser, every: Path):
    with opened(browser, every) as page:
        assert page.locator("h3").first.inner_text() == MARKUP
        assert page.locator("img").count() == 0
        assert page.title() == "flight_delay, week to 1 July 2013"


@pytest.mark.parametrize("spacing", ["normal", "0.12em"], ids=["letters", "wide-letters"])
@pytest.mark.parametrize("which", ["every", "wide", "check"])
def test_page_fits_a_phone(browser: Browser, which: str, spacing: str, request: pytest.FixtureRequest):
    with opened(browser, request.getfixturevalue(which), width=PHONE) as page:
        # fonts differ between machines, and so do the widths of their letters
        page.evaluate("spacing => { document.body.style.letterSpacing = spacing }", spacing)
        unfold(page)
        outside = page.evaluate(
            """() => [...document.querySelectorAll("body *")].filter(each => {
                const scrolls = each.closest(".wide, .command");
                return (!scrolls || scrolls === each) && each.getBoundingClientRect().right > innerWidth + 1;
            }).map(each => each.outerHTML.slice(0, 200))"""
        )
        assert outside == []
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


@pytest.mark.parametrize("spacing", ["normal", "0.12em"], ids=["letters", "wide-letters"])
def test_row_heads_on_a_phone_keep_their_words_whole(browser: Browser, check: Path, spacing: str):
    with opened(browser, check, width=PHONE) as page:
        page.evaluate("spacing => { document.body.style.letterSpacing = spacing }", spacing)
        unfold(page)
        shown, whole = page.evaluate(
            """() => {
                const heads = [...document.querySelectorAll(".table tbody th")];
                const heights = () => heads.map(each => each.getBoundingClientRect().height);
                const shown = heights();
                heads.forEach(each => { each.style.overflowWrap = "normal" });
                return [shown, heights()];
            }"""
        )
    assert len(shown) > 3
    assert shown == whole


def test_texts_of_charts_on_a_phone_can_be_read(browser: Browser, every: Path):
    with opened(browser, every, width=PHONE) as page:
        heights = page.evaluate(
            """() => [...document.querySelectorAll("svg text")].map(each => each.getBoundingClientRect().height)
                .filter(height => height > 0)"""
        )
    assert len(heights) > 20
    assert min(heights) >= 9


def test_search_of_a_page_finds_drawn_and_further_columns(browser: Browser, wide: Path):
    with opened(browser, wide) as page:
        assert page.locator(".card:visible").count() == 12
        assert page.locator(".rest tbody tr:visible").count() == 0
        page.get_by_label("Search columns").fill("COLUMN_49")
        assert page.locator(".card:visible h3").all_inner_texts() == ["column_49"]
        assert page.locator(".rest tbody tr:visible").count() == 110
        assert page.get_by_role("status").inner_text() == "111 of 5,000"
        page.get_by_label("Status").select_option("drift")
        assert page.get_by_role("status").inner_text() == "0 of 5,000"
        page.get_by_label("Search columns").fill("")
        assert page.locator(".card:visible").count() == 3
        assert page.locator(".rest:visible").count() == 0


def test_page_without_a_script_shows_all_columns_and_no_search(browser: Browser, wide: Path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(wide.as_uri())
    assert page.locator("form").is_hidden()
    for summary in page.locator(".rest > summary").all():
        summary.click()
    assert page.locator(".card:visible").count() == 60
    assert page.locator(".rest tbody tr:visible").count() == 4_940
    context.close()


def test_print_of_a_page_hides_the_search_and_opens_what_is_folded(browser: Browser, every: Path):
    with opened(browser, every, theme="dark") as page:
        search, folded = page.locator(".search"), page.locator("details dl").first
        assert (search.is_visible(), folded.is_visible()) == (True, False)
        page.emulate_media(media="print")
        assert (search.is_visible(), folded.is_visible()) == (False, True)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_focus_is_seen_wherever_the_keyboard_goes(browser: Browser, every: Path):
    with opened(browser, every) as page:
        for _ in range(8):
            page.keyboard.press("Tab")
            style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert (style, page.evaluate("document.activeElement.localName")) != ("none", "body")
            assert style == "solid"


def test_notebook_shows_a_page_as_high_as_it_is(browser: Browser, tmp_path: Path):
    short = replace(every_block(), sections=(Section("One", (Paragraph("Short."),)),), facts=())
    file = tmp_path / "notebook.html"
    style = "<style>p { font-size: 90px }</style>"
    file.write_text(f"<!doctype html>{style}{html.notebook(short)}{html.notebook(every_block())}", encoding="utf-8")
    with opened(browser, file, width=900) as page:
        frames = page.locator("iframe")
        page.wait_for_function("document.querySelector('iframe').clientHeight < 500")
        assert 100 < (frames.nth(0).bounding_box() or {})["height"] < 500
        assert (frames.nth(1).bounding_box() or {})["height"] == 720
        inside = page.frame_locator("iframe").first
        assert inside.locator("p").first.evaluate("each => getComputedStyle(each).fontSize") == "15px"
        assert (
            inside.locator("h1").evaluate("() => { try { return parent.document.title } catch { return null } }")
            is None
        )
