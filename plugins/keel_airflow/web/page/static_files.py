"""The style, the scripts and the icon of the pages, as they are served. Nothing is fetched from elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from keel.reports import html

FOLDER = Path(__file__).parent / "static"


@dataclass(frozen=True)
class StaticFile:
    """A file as it is served."""

    content: bytes
    media_type: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Return all files by name."""
    style = html.themed_style() + _read("page.css")
    return {
        "keel.css": StaticFile(style.encode(), "text/css"),
        "theme.js": StaticFile(_read("theme.js").encode(), "text/javascript"),
        "report.js": StaticFile(html.script().encode(), "text/javascript"),
        "page.js": StaticFile(_read("page.js").encode(), "text/javascript"),
        "actions.js": StaticFile(_read("actions.js").encode(), "text/javascript"),
        "keel.svg": StaticFile(_read("keel.svg").encode(), "image/svg+xml"),
    }


@cache
def revision() -> str:
    """Return a text that changes when a file does, so that browsers may keep the files they have."""
    digest = hashlib.sha256()
    for file in static_files().values():
        digest.update(file.content)
    return digest.hexdigest()[:12]


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
