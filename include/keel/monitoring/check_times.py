"""When a model was checked last, and when its next check is due. By the clock: a replayed year is checked today."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from keel.window import HOUR

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.ledger.entries import Entry
    from keel.workspace import Workspace

GRACE = HOUR
"""A check that has not decided this long after its time is overdue."""


@dataclass(frozen=True)
class CheckTimes:
    """The last check of a model and the next one, by the clock."""

    last: datetime | None
    """When the last check decided; None before the first."""
    due: datetime | None
    """The first time of the schedule since then, or since the version went into production if that was later. None
    without a schedule, and without a version in production."""

    def is_overdue(self, now: datetime) -> bool:
        """Whether the check has not come, `GRACE` after its time."""
        return self.due is not None and self.due + GRACE < now


def check_times(ws: Workspace, config: ModelConfig, rows: Sequence[Entry] | None = None) -> CheckTimes:
    """Return when a model was checked last and when the next check is due. A run that fails decides nothing.

    rows: the model's ledger, where the caller has read it.
    """
    from keel.deployments.history import fold
    from keel.ledger import entries as ledger

    entries = list(ledger.entries(ws.store, config.model)) if rows is None else rows
    production = fold(config.model, entries).deployment.production
    deployed = max((row.at for row in entries if "to" in row.body), default=None)
    last = ws.store.decisions.last_check(config.model)
    return next_times(config, production, last=last, deployed=deployed)


def next_times(
    config: ModelConfig, production: int | None, *, last: datetime | None, deployed: datetime | None
) -> CheckTimes:
    """Return when the next check of a model is due.

    production: the version in production. last: when the last check decided. deployed: when the deployment changed.
    """
    # Slow import: other commands need not wait for croniter, and a DAG file needs `GRACE` alone.
    from croniter import croniter

    if config.check.schedule is None or production is None or deployed is None:
        return CheckTimes(last, None)
    known = deployed if last is None else max(last, deployed)
    due: datetime = croniter(config.check.schedule, known).get_next(datetime)
    return CheckTimes(last, due)
