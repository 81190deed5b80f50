"""Chromium for pages: whether they are as they promise, and pictures of them for the documentation.

python -m tests.support.reports.browser week.html docs/images/week.png --theme dark --width 390
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Theme = Literal["light", "dark"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
"""None where it is not installed: Debian's package is `chromium`."""
ARGUMENTS = (
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--font-render-hinting=none",
)
PICTURE_BYTES = 120_000
"""Of a picture in the documentation."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A new Chromium with an empty profile."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "chromium is not installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, file: Path, *, theme: Theme = "light", width: int = 1000, height: int = 800
) -> Iterator[Page]:
    """The page of a file, in a window of this size."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    try:
        page.goto(file.resolve().as_uri())
        yield page
    finally:
        page.close()


def screenshot(
    html: Path,
    png: Path,
    *,
    theme: Theme = "light",
    width: int = 1000,
    height: int | None = None,
    browser: Browser | None = None,
) -> None:
    """Write a picture of a file: all of it, or its first ``height`` pixels. Pictures of many share a ``browser``."""
    if browser is None:
        with chromium() as started:
            screenshot(html, png, theme=theme, width=width, height=height, browser=started)
        return
    with opened(browser, html, theme=theme, width=width, height=height or 800) as page:
        picture = page.screenshot(full_page=height is None)
    png.parent.mkdir(parents=True, exist_ok=True)
    png.write_bytes(small(picture))


def small(picture: bytes) -> bytes:
    """Return a PNG of the picture's most frequent colours, as many as fit into `PICTURE_BYTES`.

    A page is drawn in few colours. An adaptive palette would spend itself on the shades at the edges of letters.
    """
    from PIL import Image

    image = Image.open(BytesIO(picture)).convert("RGB")
    found, where, counts = np.unique(np.asarray(image).reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    for colours in (128, 64, 32, 16):
        palette = found[np.argsort(-counts)[:colours]]
        distances = ((found[:, None].astype(int) - palette[None].astype(int)) ** 2).sum(axis=2)
        nearest = distances.argmin(axis=1).astype(np.uint8)[where.ravel()]
        drawn = Image.fromarray(nearest.reshape(image.height, image.width), "P")
        drawn.putpalette(palette.ravel().tolist())
        drawn.save(file := BytesIO(), "PNG", optimize=True)
        if file.tell() <= PICTURE_BYTES:
            return file.getvalue()
    raise ValueError(f"the picture has {file.tell():,} bytes in {colours} colours: show less of the page (height=…)")


def main() -> None:
    """Write a picture of a file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("html", type=Path)
    parser.add_argument("png", type=Path)
    parser.add_argument("--theme", choices=["light", "dark"], default="light")
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, help="of the picture; without it the whole page is shown")
    screenshot(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
