"""Realised performance over time: hourly sums of what labels have said, which outlive the rows.

refresh(ws, config)   sums the hours that labels have come for; run by the others here, and every night
series(ws, config, start, end, bucket="day")   each bucket's metrics with intervals, beside the holdout's
rolling(ws, config, end=now)                   the last 24 h and 7 d whose labels are due, by version
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

__all__ = ["BUCKETS", "WINDOWS", "Bucket", "refresh", "rolling", "series"]

Bucket = Literal["hour", "day", "week"]
BUCKETS: tuple[Bucket, ...] = ("hour", "day", "week")
WINDOWS = (timedelta(hours=24), timedelta(days=7))


def refresh(ws: Workspace, config: ModelConfig, *, start: datetime | None = None, end: datetime | None = None) -> int:
    """Sum the hours, start ≤ hour < end where given, for which labels have come since; return how many."""
    raise NotImplementedError


def series(
    ws: Workspace,
    config: ModelConfig,
    start: datetime,
    end: datetime,
    *,
    bucket: Bucket = "day",
    version: int | None = None,
) -> list[dict[str, Any]]:
    """Return each bucket's performance, by time and version."""
    raise NotImplementedError


def rolling(
    ws: Workspace, config: ModelConfig, *, end: datetime, windows: Sequence[timedelta] = WINDOWS
) -> list[dict[str, Any]]:
    """Return the performance in windows that end ``label_delay`` before ``end``, by window and version."""
    raise NotImplementedError
