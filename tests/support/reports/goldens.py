"""Pages as files that a person has looked at: `tests/data/reports`.

They are stored without the style and script that all pages share. To write them anew, set KEEL_WRITE_GOLDENS=1. To look
at whole pages, name a folder for them: KEEL_GOLDEN_PAGES=FOLDER.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.paths import PROJECT

FOLDER = PROJECT / "tests" / "data" / "reports"
WRITE = "KEEL_WRITE_GOLDENS"
PAGES = "KEEL_GOLDEN_PAGES"


def require_golden(name: str, page: str) -> None:
    """Fail where a page says something else than its file."""
    made, golden = content(page.encode()), FOLDER / f"{name}.html"
    if folder := os.environ.get(PAGES):
        _write(Path(folder) / f"{name}.html", page.encode())
    if os.environ.get(WRITE):
        _write(golden, made)
    if golden.read_bytes() != made:  # no assertion of pytest: its diff of two pages takes a minute
        pytest.fail(f"the page of {name} has changed; where that is meant, write the files anew with {WRITE}=1")


def _write(path: Path, page: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(page)


def content(page: bytes) -> bytes:
    """Return what a page says, without its style and script and their hashes, which are the same in all pages."""
    return re.sub(rb"<(style|script)>.*?</\1>|sha256-[\w+/=]+", b"", page, flags=re.DOTALL)
