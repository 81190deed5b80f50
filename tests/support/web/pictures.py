"""The pictures of the pages in ``docs/images``, of an Airflow with the demo's data.

python -m tests.support.web.pictures
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.paths import PROJECT
from tests.support.reports.browser import chromium, small
from tests.support.web.demo_airflow import MODEL, Visitor, demo_airflow

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES = PROJECT / "docs" / "images"
OF_MODEL = f"/keel/models/{MODEL}"
IN_FRAME = {
    "overview": ("/plugin/keel", "light"),
    "model": (f"/plugin/keel{OF_MODEL}", "light"),
    "model-dark": (f"/plugin/keel{OF_MODEL}", "dark"),
    "tab-dark": (f"/dags/{MODEL}.drift_check/plugin/keel-model", "dark"),
}
"""In Airflow's page: the path and the theme by the picture's name."""
ALONE = {
    "drift": (OF_MODEL, "light", "Performance"),
    "drift-dark": (OF_MODEL, "dark", "Performance"),
    "column": (f"{OF_MODEL}/columns/temp", "light", ""),
    "dialog": (OF_MODEL, "light", ""),
    "overview-phone": ("/keel/", "phone", ""),
    "model-phone": (OF_MODEL, "phone", ""),
}
"""Outside the frame: the path, the size and the section at the top."""


def take(browser: Browser, url: str, name: str) -> None:
    """Write one picture. url: of Airflow."""
    path, size, *section = IN_FRAME.get(name) or ALONE[name]
    visitor = Visitor(browser, url, size).log_in(path=path)
    page = visitor.page
    if name in IN_FRAME:
        page.frame_locator("iframe").locator("main h1").wait_for()
    if name == "dialog":
        page.locator("button[data-action]", has_text="Roll back").click()
        page.fill("dialog[open] input", "Flights are as they were in spring")
    if section and section[0]:
        page.locator("h2", has_text=section[0]).evaluate("title => scrollTo(0, title.offsetTop - 12)")
    page.wait_for_timeout(500)  # until Airflow's own parts are drawn
    picture = page.screenshot(scale="css")
    (IMAGES / f"page-{name}.png").write_bytes(small(picture))
    visitor.close()


def main() -> None:
    """Write all pictures."""
    with tempfile.TemporaryDirectory() as folder, demo_airflow(Path(folder)) as stack, chromium() as browser:
        for name in (*IN_FRAME, *ALONE):
            take(browser, stack.airflow_url, name)


if __name__ == "__main__":
    main()
