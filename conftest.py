"""What holds for every test: where its files lie, and that the project's own CI skips none for a missing tool."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

NEEDS_TOOL = "needs tool"
"""How the reason of such a skip begins: ``.ci/run`` installs the tools that there are."""

MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3
"""Bytes that must be free in memory. All tests together need a fifth of that."""


def pytest_configure() -> None:
    """Keep temporary files in memory where there is room: commits and copies of databases wait for a disk.

    The servers that tests start do so too. What a killed process had written survives there as on a disk.
    """
    if "TMPDIR" not in os.environ and _has_room(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def _has_room(folder: Path) -> bool:
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    # The size of the folder is a limit, not memory that is free.
    free = min(shutil.disk_usage(folder).free, psutil.virtual_memory().available)
    return free > ROOM and not os.statvfs(folder).f_flag & os.ST_NOEXEC


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip for a missing tool into a failure where ``KEEL_CI`` is set."""
    report = yield
    if os.environ.get("KEEL_CI") and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(NEEDS_TOOL):
            report.outcome = "failed"
            report.longrepr = f"{reason}: under KEEL_CI that is a failure, not a skip"
    return report
