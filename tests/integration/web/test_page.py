"""The pages in Chromium, on a running Airflow with the demo's data: looking, going about, and acting."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from conftest import NEEDS_TOOL
from tests.support.reports.browser import CHROMIUM, chromium
from tests.support.reports.sample_page import MARKUP
from tests.support.web.demo_airflow import LONG, MODEL, SIZES, Visitor, demo_airflow, hostile_models

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from keel.cli.standalone.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SUBJECT = "temp"
"""The column of an open alert whose sentence holds markup."""
GRAVE = {"serious", "critical"}
VIEWS = ("/keel/", f"/keel/models/{MODEL}", f"/keel/models/{MODEL}/columns/temp", f"/keel/models/{MODEL}/checks")
RUN_SECONDS = 300_000
"""Milliseconds that a run may take."""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if CHROMIUM is None:
        pytest.skip(f"{NEEDS_TOOL}: chromium (Debian's package of that name)")
    folder = tmp_path_factory.mktemp("page")
    with demo_airflow(folder, hostile_models(folder / "models")) as stack:
        with closing(sqlite3.connect(stack.home / "keel.db")) as store:
            store.execute("UPDATE alerts SET sentence = ? WHERE resolved_at IS NULL AND subject = ?", (MARKUP, SUBJECT))
            store.commit()
        yield stack


@pytest.fixture(scope="module")
def browser(airflow: Stack) -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser: Browser, airflow: Stack) -> Iterator[Callable[..., Visitor]]:
    """Visitors, whose browsers must have had nothing to complain of."""
    visitors: list[Visitor] = []

    def start(path: str = "/keel/", *, user: str = "admin", size: str = "light") -> Visitor:
        visitors.append(Visitor(browser, airflow.airflow_url, size))
        return visitors[-1].log_in(user, path) if user else visitors[-1].open(path)

    yield start
    complaints, elsewhere = [c for v in visitors for c in v.complaints], [e for v in visitors for e in v.elsewhere]
    for visitor in visitors:
        visitor.close()
    assert complaints == []
    assert elsewhere == []


@pytest.mark.parametrize("size", SIZES)
def test_every_view_is_accessible_and_fits_its_window(visit: Callable[..., Visitor], size: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = (visitor := visit(size=size)).page
    for view in VIEWS:
        visitor.open(view)
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        grave = {each["id"]: each["nodes"][0]["html"] for each in found if each["impact"] in GRAVE}
        assert grave == {}, view
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        assert page.locator("main h1").count() == 1
    visitor.open("/keel/")
    assert page.get_by_text("cannot be read").count() > 0
    for width in {"phone": (390, 320)}.get(size, (1360, 1000, 900)):
        page.set_viewport_size({"width": width, "height": 800})
        hidden = page.locator(".wide").evaluate("frame => frame.scrollWidth - frame.clientWidth")
        assert hidden <= 1, f"{width} px hide {hidden} px of the table"
    page.locator(f"main a[href$={LONG}]").click()
    page.get_by_text("model.yaml: target: required key is missing").wait_for()
    visitor.complaints.clear()  # the browser notes the answer of 409


def test_in_airflows_frame_each_page_has_an_address_of_its_own_and_its_theme(visit: Callable[..., Visitor]) -> None:
    page = visit("/plugin/keel", size="dark").page
    frame = page.frame_locator("iframe")
    frame.locator("main table a", has_text=MODEL).click()
    frame.locator(f".crumbs [aria-current]:text('{MODEL}')").wait_for()
    page.wait_for_url(f"**/plugin/keel/keel/models/{MODEL}")
    assert frame.locator("html").get_attribute("data-theme") == "dark"
    assert frame.locator(".outside-frame").is_hidden()
    page.evaluate("document.documentElement.classList.replace('dark', 'light')")
    frame.locator("html[data-theme=light]").wait_for()
    page.reload()
    frame.locator(f".crumbs [aria-current]:text('{MODEL}')").wait_for()
    frame.locator(".crumbs a", has_text="Models").click()
    page.wait_for_url("**/plugin/keel/keel/")


def test_the_tab_of_a_dag_shows_its_model(visit: Callable[..., Visitor]) -> None:
    page = visit(f"/dags/{MODEL}.rollback/plugin/keel-model").page
    page.frame_locator("iframe").locator(f".crumbs [aria-current]:text('{MODEL}')").wait_for()


def test_a_cell_of_the_heatmap_leads_to_its_column_by_mouse_and_by_keyboard(visit: Callable[..., Visitor]) -> None:
    page = visit(f"/keel/models/{MODEL}").page
    cells = page.locator(".heatmap .broad a")
    assert cells.count() > 20
    assert page.locator(".heatmap .broad a[tabindex='0']").count() == 1
    cells.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    wanted = page.evaluate("document.activeElement.href.baseVal ?? document.activeElement.getAttribute('href')")
    assert wanted != cells.first.get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{wanted}")
    page.locator("figure.histogram svg, figure.categories svg").first.wait_for()
    page.go_back()
    last = cells.last.get_attribute("href")
    cells.last.locator("rect").evaluate("cell => cell.setAttribute('class', 'hn')")  # as where nothing was measured
    cells.last.click()
    page.wait_for_url(f"**{last}")


def test_markup_of_users_is_text_in_all_views(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    name = MARKUP.replace("/", "%2F")
    of_a_model = f"/keel/models/{MODEL}"
    others = (f"/keel/models/{name}", f"/keel/dag/{name}.drift_check", f"{of_a_model}/columns/{name}")
    for view in ("/keel/", of_a_model, *others):
        visitor.open(view)
        page.wait_for_timeout(200)
        assert page.get_by_text(MARKUP[:20]).count() > 0, view  # a problem quotes the rest as Python does
        assert page.locator("img").count() == 0, view
        assert page.title() != "ran", view
    visitor.complaints.clear()  # the browser notes answers of 404


def test_who_may_only_look_gets_no_buttons(visit: Callable[..., Visitor]) -> None:
    page = visit(f"/keel/models/{MODEL}", user="vera").page
    page.locator("main h1").wait_for()
    assert page.locator("button[data-action]").count() == 0


def test_without_a_login_the_page_leads_to_it_and_back(visit: Callable[..., Visitor]) -> None:
    visitor = visit(f"/keel/models/{MODEL}", user="")
    visitor.page.click("main a")
    visitor.page.fill("input[name=username]", "vera")
    visitor.page.fill("input[name=password]", "only-for-tests")
    visitor.page.click("button[type=submit]")
    visitor.page.wait_for_url(f"**/keel/models/{MODEL}")
    visitor.complaints.clear()  # the browser notes the answer of 401


def test_an_action_is_confirmed_in_the_page_and_can_be_left(visit: Callable[..., Visitor]) -> None:
    page = visit(f"/keel/models/{MODEL}").page
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
    button = page.locator("button[data-action]", has_text="Roll back")
    button.focus()
    page.keyboard.press("Enter")
    page.locator("dialog[open] input").wait_for()
    page.keyboard.press("Enter")  # without the reason
    assert page.locator("dialog[open] input").get_attribute("aria-invalid") == "true"
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="hidden")
    assert button.evaluate("button => button === document.activeElement")
    assert sent == []


def test_a_login_that_ends_in_a_dialog_leads_back_to_the_page(visit: Callable[..., Visitor]) -> None:
    visitor = visit(f"/keel/models/{MODEL}")
    visitor.page.locator("button[data-action]", has_text="Check now").click()
    visitor.context.clear_cookies()
    visitor.page.locator("dialog[open] button[type=submit]").click()
    way = visitor.page.locator("dialog .fault a")
    assert way.get_attribute("href") == f"/auth/login?next=%2Fkeel%2Fmodels%2F{MODEL}"
    assert way.evaluate("link => link === document.activeElement")
    assert "token" not in visitor.page.locator("dialog .fault").inner_text()
    visitor.complaints.clear()  # the browser notes the answer of 401


def test_an_alert_is_acknowledged_by_who_is_logged_in(visit: Callable[..., Visitor], airflow: Stack) -> None:
    page = visit(f"/keel/models/{MODEL}", user="olga").page
    row = page.locator("tr", has=page.locator("button", has_text="Acknowledge")).first
    row.locator("button", has_text="Acknowledge").click()
    page.locator("dialog[open] button[type=submit]").click()
    page.locator("dialog .state .good").wait_for()
    page.locator("dialog[open] button", has_text="Close").click()
    page.get_by_text(re.compile("acknowledged by olga")).first.wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Open alerts"  # where the button was
    assert rows(airflow, "SELECT DISTINCT acknowledged_by FROM alerts WHERE acknowledged_by IS NOT NULL") == [("olga",)]
    # who leaves the dialog before the answer sees on the page what became of it
    page.locator("button", has_text="Acknowledge").first.click()
    page.locator("dialog[open] button[type=submit]").click()
    with page.expect_navigation():
        page.keyboard.press("Escape")


def test_a_version_is_rolled_back_and_another_promoted(visit: Callable[..., Visitor], airflow: Stack) -> None:
    page = visit(f"/keel/models/{MODEL}").page
    act(page, "Roll back to version 1", "the relation has changed back")
    assert "version 1 in production" in page.locator(".eyebrow").first.inner_text()
    act(page, "Promote version 4", "it knows the winter", force=True)
    assert "version 4 in production" in page.locator(".eyebrow").first.inner_text()
    last = rows(airflow, "SELECT action, actor FROM ledger ORDER BY seq DESC LIMIT 2")
    assert last == [("promote", "admin"), ("rollback", "admin")]


def act(page: Any, label: str, reason: str, *, force: bool = False) -> None:
    """Do an action of the page, wait for the end of its run, and close its dialog."""
    page.locator("button[data-action]", has_text=label).first.click()
    page.locator("dialog input[name=reason]").fill(reason)
    if force:
        page.locator("dialog input[name=force]").check()
    page.locator("dialog[open] button[type=submit]").click()
    page.locator("dialog .state .tag").wait_for(timeout=RUN_SECONDS)
    said = page.locator("dialog .state").inner_text()
    assert said.startswith("Done"), said
    with page.expect_navigation():
        page.locator("dialog[open] button", has_text="Close").click()
    page.wait_for_selector("main")


def rows(airflow: Stack, query: str) -> list[Any]:
    """Return what the store holds."""
    with closing(sqlite3.connect(airflow.home / "keel.db")) as store:
        return store.execute(query).fetchall()
