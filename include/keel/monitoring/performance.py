"""Realised performance of a version, from predictions whose labels have arrived."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from keel.stats.json_numbers import finite_or_none
from keel.stats.metrics.losses import Estimate, Scored, estimate, finite_rows, row_loss, worsening

if TYPE_CHECKING:
    from keel.config import PerformanceConfig


class PerformanceStatus(StrEnum):
    """What the labels of a window say."""

    OK = "ok"
    DEGRADED = "degraded"
    UNDEFINED = "undefined"
    INSUFFICIENT = "insufficient"
    NO_LABELS = "no_labels"


@dataclass(frozen=True)
class LabelArrival:
    """How many predictions of a window are due, and how many of those have their label."""

    due: int
    labelled: int

    @property
    def rate(self) -> float | None:
        """The share of the predictions that have their label; None where none is due."""
        return self.labelled / self.due if self.due else None

    def missing(self, config: PerformanceConfig) -> bool:
        """Whether enough predictions are due to tell, and too few of them have a label."""
        return self.rate is not None and self.due >= config.min_rows and self.rate < config.min_label_rate


@dataclass(frozen=True)
class PerformanceReport:
    """A window's metrics beside the holdout's, and whether the difference is harm."""

    status: PerformanceStatus
    metric: str
    n: int
    unusable: int
    current: Mapping[str, Estimate]
    reference: Mapping[str, Estimate]
    increase: float | None = None
    """How much worse the window is than the holdout in units of the metric; positive is worse."""
    standard_error: float | None = None
    p_value: float | None = None
    loss_change: float | None = None
    """Change of the mean loss per row, whatever the metric; what impacts are compared with."""
    explained: float | None = None
    """What the inputs' drift alone would have changed the mean loss by."""
    arrival: LabelArrival = LabelArrival(0, 0)
    labels_missing: bool = False
    """Labels that should be there are not, whatever those that are there say."""

    @property
    def unexplained(self) -> float | None:
        """What is left of the change: the relation itself (None without labels or a loss on the grid)."""
        if self.loss_change is None or self.explained is None:
            return None
        return self.loss_change - self.explained

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able values, NaN as None."""
        return {
            "status": str(self.status),
            "metric": self.metric,
            "n": self.n,
            "unusable": self.unusable,
            "due": self.arrival.due,
            "label_rate": self.arrival.rate,
            "labels_missing": self.labels_missing,
            "current": {name: _plain(e) for name, e in self.current.items()},
            "reference": {name: _plain(e) for name, e in self.reference.items()},
            "increase": finite_or_none(self.increase),
            "standard_error": finite_or_none(self.standard_error),
            "p_value": finite_or_none(self.p_value),
            "loss_change": finite_or_none(self.loss_change),
            "explained": finite_or_none(self.explained),
            "unexplained": finite_or_none(self.unexplained),
        }


def detect_degradation(
    rows: Scored,
    reference: Mapping[str, Estimate],
    reference_loss: float,
    config: PerformanceConfig,
    *,
    explained: float | None = None,
    arrival: LabelArrival | None = None,
) -> PerformanceReport:
    """Compare a window's metrics with the holdout's by a test that respects the sampling error of both.

    Parameters
    ----------
    rows
        The window's labelled predictions; rows without a usable score or label are counted as ``unusable``.
    reference
        Holdout estimates by metric name; must hold ``config.metric``.
    reference_loss
        The holdout's mean loss per row (`keel.stats.metrics.losses.row_loss` of ``config.metric``).
    explained
        What the inputs' drift alone would have changed the mean loss by, if known.
    arrival
        How many of the window's predictions have a label; without it, what is not there cannot be missed.

    A window has *degraded* when the increase is significant (one-sided z at ``alpha``) and material
    (above ``max_degradation``). Below ``min_rows`` it is *insufficient*, without any row *no_labels*. Where the metric
    is not defined on the window or was not on the holdout, as an AUC of one class, it is *undefined*. Whatever the
    status, labels are missing when at least ``min_rows`` predictions are due and fewer than ``min_label_rate`` of them
    have one.

    """
    usable = finite_rows(config.metric, rows)
    kept = rows.take(usable)
    n = len(kept)
    metrics: tuple[str, ...] = (config.metric, *config.extra_metrics)
    current = {name: estimate(name, kept) for name in metrics} if n else {}
    arrival = arrival or LabelArrival(0, 0)
    counted = PerformanceReport(
        status=PerformanceStatus.NO_LABELS if n == 0 else PerformanceStatus.INSUFFICIENT,
        metric=config.metric,
        n=n,
        unusable=len(rows) - n,
        current=current,
        reference=reference,
        arrival=arrival,
        labels_missing=arrival.missing(config),
    )
    if n < config.min_rows:
        return counted
    tested = _test(counted, config)
    if tested.status is PerformanceStatus.UNDEFINED:
        return tested
    loss_change = float(row_loss(config.metric, kept).mean()) - reference_loss
    return replace(tested, loss_change=loss_change, explained=explained)


def _test(counted: PerformanceReport, config: PerformanceConfig) -> PerformanceReport:
    """Compare the metric with the holdout's, where both are defined."""
    now, then = counted.current[config.metric], counted.reference[config.metric]
    if not (now.defined and then.defined):
        return replace(counted, status=PerformanceStatus.UNDEFINED)
    increase = worsening(config.metric, then.value, now.value)
    error = math.hypot(now.standard_error, then.standard_error)
    p_value = _upper_tail(increase, error)
    harmed = p_value <= config.alpha and increase > config.max_degradation
    status = PerformanceStatus.DEGRADED if harmed else PerformanceStatus.OK
    return replace(counted, status=status, increase=increase, standard_error=error, p_value=p_value)


def _upper_tail(difference: float, error: float) -> float:
    """P(Z ≥ difference / error); a difference without any error is certain one way or the other."""
    if error == 0:
        return 0.0 if difference > 0 else 1.0
    return 0.5 * math.erfc(difference / error / math.sqrt(2))


def _plain(e: Estimate) -> dict[str, float | int | None]:
    return {"value": finite_or_none(e.value), "standard_error": finite_or_none(e.standard_error), "n": e.n}
