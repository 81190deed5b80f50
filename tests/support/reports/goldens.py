"""Pages as files that a person has looked at: `tests/data/reports`.

To write them anew, set KEEL_WRITE_GOLDENS=1. Then look at what has changed.
"""

from __future__ import annotations

import os
import re

import pytest

from tests.support.paths import PROJECT

FOLDER = PROJECT / "tests" / "data" / "reports"
WRITE = "KEEL_WRITE_GOLDENS"


def require_golden(name: str, page: str) -> None:
    """Fail where a page says something else than its file."""
    made, golden = page.encode(), FOLDER / f"{name}.html"
    if os.environ.get(WRITE):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_bytes(made)
    if content(golden.read_bytes()) != content(made):  # no assertion of pytest: its diff of two pages takes a minute
        pytest.fail(f"the page of {name} has changed; where that is meant, write the files anew with {WRITE}=1")


def content(page: bytes) -> bytes:
    """Return what a page says, without its style and script and their hashes, which are the same in all pages."""
    return re.sub(rb"<(style|script)>.*?</\1>|sha256-[\w+/=]+", b"", page, flags=re.DOTALL)
