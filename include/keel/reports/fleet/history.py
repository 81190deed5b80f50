"""The performance of many models in earlier windows, as their checks measured it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keel.ledger.wording import as_mapping, as_number
from keel.monitoring.records import StoredPerformanceReport
from keel.reports.check.history import LENGTH, MIN_SEPARATE
from keel.store.fleet import Thinned
from keel.window import HOUR

if TYPE_CHECKING:
    from datetime import datetime

    from keel.store import Store


@dataclass(frozen=True)
class Measured:
    """The configured metric in the window of a check."""

    end: datetime
    version: int
    status: str
    metric: str
    value: float | None
    holdout: float | None


def performance_histories(store: Store, newest: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Measured, ...]]:
    """Return the performance of models in at most about `LENGTH` windows each, the newest last, in one query.

    newest: the newest report of performance of each model, as `keel.store.fleet` returns it. The windows are as far
    apart as they are long, or closer where there are few.
    """
    found: dict[str, list[Measured]] = defaultdict(list)
    wanted = {row["model"]: _thinned(row) for row in newest}
    for row in store.fleet.thinned_reports(StoredPerformanceReport.CHECK, wanted.values()):
        if (measured := _measured(row)) is not None:
            found[row["model"]].append(measured)
    return {model: tuple(measured) for model, measured in found.items()}


def _thinned(row: Mapping[str, Any]) -> Thinned:
    """Return which windows to read, as `keel.reports.check.history.spaced` chooses them for one model."""
    end, length = row["window_end"], row["window_end"] - row["window_start"]
    span = end - row["since"]
    gap = length if span >= (MIN_SEPARATE - 1) * length else span / (LENGTH - 1)
    return Thinned(row["model"], row["since"], end, max(gap, HOUR), length)


def _measured(row: Mapping[str, Any]) -> Measured | None:
    """Return what a report measured; None where it cannot be read, because it is only one point of a line."""
    try:
        body = as_mapping(json.loads(row["body"]))
    except ValueError:
        return None
    metric = str(body.get("metric"))
    value, holdout = (as_mapping(as_mapping(body.get(name)).get(metric)) for name in ("current", "reference"))
    numbers = as_number(value.get("value")), as_number(holdout.get("value"))
    return Measured(row["window_end"], row["version"], row["status"], metric, *numbers)
