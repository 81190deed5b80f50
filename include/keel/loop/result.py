"""A check in one call, for notebooks and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from keel.loop.checks import check_data_drift, check_data_quality, check_performance
from keel.loop.decisions import reach_decision
from keel.loop.windows import count_window, resolve_window
from keel.monitoring import storage
from keel.reports.check import collect
from keel.reports.check import page as page_of
from keel.reports.rendered import Rendered
from keel.window import Window, now_utc

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import (
        Action,
        DecisionRecord,
        StoredDriftReport,
        StoredLabelsReport,
        StoredPerformanceReport,
        StoredQualityReport,
    )
    from keel.reports.check import CheckData
    from keel.reports.page import Page
    from keel.workspace import Workspace


@dataclass(frozen=True, repr=False)
class CheckResult(Rendered):
    """The result of `check`: the reports on a window, and the decision that they lead to.

    It shows itself as a page: in a terminal, in a notebook, with ``to_html("week.html")`` and ``to_markdown()``.
    """

    quality: StoredQualityReport
    drift: StoredDriftReport
    performance: StoredPerformanceReport
    labels: StoredLabelsReport
    decision: DecisionRecord
    data: CheckData = field(compare=False)
    """What the page shows, as it was when the check ended."""

    def page(self) -> Page:
        """Return the page of the check."""
        return page_of(self.data)

    @property
    def action(self) -> Action:
        """What Keel would do: ``all_clear``, ``raise_alert``, ``quarantine`` or ``retrain``."""
        return self.decision.action

    @property
    def sentence(self) -> str:
        """Why."""
        return self.decision.sentence

    @property
    def window(self) -> Window:
        """The window that was checked."""
        return self.decision.window


def check(
    ws: Workspace,
    config: ModelConfig,
    *,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    now: datetime | None = None,
) -> CheckResult:
    """Check a window and decide, without acting: nothing is trained, quarantined or sent.

    Stores the counts and the reports, as the scheduled check does. The decision is not stored, because a stored
    one starts the cooldown of the next.

    Parameters
    ----------
    start, end
        The window, in ISO 8601 or aware. Its end is now if not given, its start ``check.lookback`` before the end.
    now
        The present. Default: the clock.

    Raises
    ------
    NoProductionVersion
        The model has no version in production.

    """
    window = resolve_window(config, start=start, end=end, now=now or now_utc())
    counted = count_window(ws, config, window)
    for step in (check_data_quality, check_data_drift, check_performance):
        step(ws, config, counted)
    reports = storage.read_check_reports(ws, counted)
    assert reports.labels is not None, "check_performance stores it"
    decision = reach_decision(ws, config, counted)
    data = collect(ws, config, counted.version, window, decision, acted=False)
    return CheckResult(reports.quality, reports.drift, reports.performance, reports.labels, decision, data)
