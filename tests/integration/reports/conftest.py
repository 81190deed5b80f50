"""One Chromium for the pages of a module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from conftest import NEEDS_TOOL
from tests.support.reports.browser import CHROMIUM, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(f"{NEEDS_TOOL}: chromium (Debian's package of that name)")
    with chromium() as started:
        yield started
