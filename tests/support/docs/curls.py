"""The commands with ``curl`` that the documentation shows."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.paths import PROJECT

SERVICE = "http://127.0.0.1:8090"
"""The scoring service, as the documentation writes it."""
MONITOR = "https://monitor.example.com/ping/keel"
"""A service of somebody else."""
OTHERS = (SERVICE, MONITOR)
"""Addresses of other servers than Airflow's."""
PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")])
CODE = re.compile(r"(?:^    .*\n|^\n)+", re.MULTILINE)


def curls(page: Path) -> list[str]:
    """Return each command with ``curl``, with its continuation lines, in the order of the page."""
    found = []
    for block in CODE.findall(page.read_text(encoding="utf-8")):
        current: list[str] = []
        for line in block.splitlines():
            current.append(line.removeprefix("    "))
            text = "\n".join(current)
            if line.endswith("\\") or text.count("'") % 2:
                continue
            if "curl" in text:
                found.append(text)
            current = []
    return found
