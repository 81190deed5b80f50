"""Draw the pictures of docs/page.md: Keel's pages on a running Airflow with the demo's data.

python -m docs.page_pictures

It starts Airflow on a copy of the demo's home, logs in as people do, and needs Chromium.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.reports.browser import chromium, small
from tests.support.web.demo_airflow import MODEL, Visitor, demo_airflow

IMAGES = Path(__file__).parent / "images"


def main() -> None:
    """Write all pictures."""
    with tempfile.TemporaryDirectory() as folder, demo_airflow(Path(folder)) as stack, chromium() as browser:
        for size in ("light", "dark", "phone"):
            visitor = Visitor(browser, stack.airflow_url, size).log_in()
            suffix = "" if size == "light" else f"-{size}"
            for name, (sizes, take) in PICTURES.items():
                if size in sizes:
                    take(visitor, size)
                    (IMAGES / f"page-{name}{suffix}.png").write_bytes(small(visitor.page.screenshot(scale="css")))
                    print(f"page-{name}{suffix}.png")
            visitor.close()


def _overview(visitor: Visitor, size: str) -> None:
    if size == "phone":
        visitor.open("/keel/")
        return
    visitor.open("/plugin/keel")
    visitor.page.frame_locator("iframe").locator("main table").wait_for()


def _model(visitor: Visitor, size: str) -> None:
    if size == "phone":
        visitor.open(f"/keel/models/{MODEL}")
        return
    visitor.open(f"/plugin/keel/keel/models/{MODEL}")
    visitor.page.frame_locator("iframe").locator("main .facts").first.wait_for()


def _heatmap(visitor: Visitor, size: str) -> None:
    visitor.open(f"/keel/models/{MODEL}")
    section = visitor.page.locator("section", has=visitor.page.locator("figure.trend")).first
    section.evaluate("section => window.scrollTo(0, section.offsetTop - 12)")
    visitor.page.wait_for_timeout(300)


def _column(visitor: Visitor, size: str) -> None:
    visitor.open(f"/keel/models/{MODEL}/columns/temp")


def _dialog(visitor: Visitor, size: str) -> None:
    visitor.open(f"/keel/models/{MODEL}")
    visitor.page.locator("button[data-action]", has_text="Roll back").click()
    visitor.page.locator("dialog[open] input").fill("Flights are as they were in spring")


def _tab(visitor: Visitor, size: str) -> None:
    visitor.open(f"/dags/{MODEL}.drift_check/plugin/keel-model")
    visitor.page.frame_locator("iframe").locator("main .facts").first.wait_for()
    visitor.page.wait_for_timeout(1500)  # for Airflow's own charts


PICTURES = {
    "overview": (("light", "phone"), _overview),
    "model": (("light", "dark", "phone"), _model),
    "drift": (("light", "dark"), _heatmap),
    "column": (("light",), _column),
    "dialog": (("light",), _dialog),
    "tab": (("dark",), _tab),
}
"""For each picture the windows that it is taken in, and what to open."""

if __name__ == "__main__":
    main()
