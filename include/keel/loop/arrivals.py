"""Whether it is by chance that a version had no row lately."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from keel.deployments.history import production_since
from keel.ledger import entries as ledger
from keel.stats.arrivals import chance_of_silence
from keel.window import HOUR, ceil_hour

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.workspace import Workspace

USUAL = timedelta(weeks=4)
"""Time before a silence whose rows are the usual traffic."""
KNOWN = 2 * USUAL
"""A silence of this length is none by chance."""


def chance_of_no_rows(ws: Workspace, config: ModelConfig, version: int, end: datetime) -> float:
    """Return the probability that a version has had no row for so long, by the model's usual traffic; in [0, 1].

    The silence lasts from the version's last row, or from the time it went into production, until ``end``: windows
    that follow each other without a row become less and less probable. Usual are the rows of all versions in the four
    weeks before it. Where none came for eight weeks, or ever, it is 0: that needs no test.

    end: a full hour.
    """
    by_hour: dict[datetime, int] = {}
    last = None
    for (number, hour), n in ws.predictions(config).hourly_rows(end - KNOWN, end).items():
        by_hour[hour] = by_hour.get(hour, 0) + n
        if number == version:
            last = hour if last is None else max(last, hour)
    if not by_hour:
        return 0.0
    # The hour of the last row has one because it is the last, and says nothing of the traffic; nor does the first.
    gap, until = (1, last) if last is not None else (0, _in_production(ws, config, end))
    first = max(until - USUAL, min(by_hour) + HOUR)
    usual = [by_hour.get(first + i * HOUR, 0) for i in range(max(0, (until - first) // HOUR))]
    return chance_of_silence(usual, (end - until) // HOUR - gap, gap=gap)


def _in_production(ws: Workspace, config: ModelConfig, end: datetime) -> datetime:
    since = production_since(ledger.entries(ws.store, config.model))
    return end - USUAL if since is None else max(end - USUAL, min(end, ceil_hour(since)))
