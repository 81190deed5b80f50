"""On the project's own CI a test may not be skipped for a missing tool: ``.ci/run`` installs what there is."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

NEEDS_TOOL = "needs tool"
"""How the reason of such a skip begins."""


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
