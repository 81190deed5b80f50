"""Test whether a version performs worse than on its holdout, from predictions whose labels have arrived."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from keel.stats.json_numbers import finite_or_none
from keel.stats.metrics.intervals import INDEPENDENT, interval_estimate
from keel.stats.metrics.losses import Estimate, Scored, estimate, finite_rows, row_loss, worsening
from keel.stats.sequential.day_clusters import anytime_quantile
from keel.window import HOUR

if TYPE_CHECKING:
    from keel.config import PerformanceConfig
    from keel.monitoring.records import LiveAlarm
    from keel.stats.metrics.hourly_table import HourlyTable
    from keel.stats.metrics.intervals import Times


class PerformanceStatus(StrEnum):
    """What the labels of a window show."""

    OK = "ok"
    DEGRADED = "degraded"
    """The metric is significantly and materially worse than on the holdout."""
    UNDEFINED = "undefined"
    """The metric is not defined on the window or on the holdout."""
    INSUFFICIENT = "insufficient"
    """Fewer labels than ``min_rows``."""
    NO_LABELS = "no_labels"


NOT_MEASURED = Estimate(math.nan, math.nan, 0)
"""Of a metric that was not measured on a version's holdout."""


@dataclass(frozen=True)
class LabelArrival:
    """How many labels of a window have matured, and how many of them have arrived."""

    due: int
    """Predictions whose label delay has passed."""
    labelled: int
    """Those of them that have a label."""

    @property
    def rate(self) -> float | None:
        """The share of matured predictions that have a label; None where none has matured."""
        return self.labelled / self.due if self.due else None

    def missing(self, config: PerformanceConfig) -> bool:
        """Whether too few of the matured predictions have a label, and there are enough of them to be sure."""
        return self.rate is not None and self.due >= config.min_rows and self.rate < config.min_label_rate


@dataclass(frozen=True)
class LongRun:
    """All labels of a version since its first prediction, against its holdout.

    A week may show nothing though every week is a little worse. The bound holds at every check together, however often
    the version is checked (`keel.stats.sequential.day_clusters.anytime_quantile`).
    """

    since: datetime
    until: datetime
    n: int
    value: float
    increase: float
    """How much worse the metric is than on the holdout; positive is worse."""
    standard_error: float
    """Of the increase, clustered by day."""
    lower_bound: float
    """Of the increase, at 1 − level, valid at any time."""
    level: float
    unit: str
    clusters: int

    def is_harm(self, max_degradation: float) -> bool:
        """Whether the increase is shown, and material."""
        return self.lower_bound > 0 and self.increase > max_degradation

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self.__dict__, "since": self.since.isoformat(), "until": self.until.isoformat()}


def measure_long_run(
    metric: str, hours: HourlyTable, times: Times, reference: Estimate | None, config: PerformanceConfig
) -> LongRun | None:
    """Measure the harm in all labels of a version, from their hourly sums.

    The registered error of the holdout treats rows as independent, and its days differ as those of production do. So it
    is multiplied by the ratio of the clustered error to that of independent rows in production (the design effect).

    Parameters
    ----------
    hours, times
        The hourly sums of the version, without quarantined hours, and their starts.
    reference
        The holdout's metric; None where it was not measured.

    Returns
    -------
    LongRun or None
        None below ``min_rows`` labels or five hours, and where the metric is not defined.

    """
    if not len(hours) or reference is None:
        return None
    now = interval_estimate(metric, hours, times)
    known = math.isfinite(now.standard_error) and now.row_error > 0 and reference.defined
    if now.n < config.min_rows or now.unit == INDEPENDENT or not known:
        return None
    increase = worsening(metric, reference.value, now.value)
    error = math.hypot(now.standard_error, reference.standard_error * now.standard_error / now.row_error)
    width = anytime_quantile(now.clusters, alpha=config.alpha) * error
    first, last = (time.astype("datetime64[us]").astype(datetime).replace(tzinfo=UTC) for time in (times[0], times[-1]))
    return LongRun(
        first,
        last + HOUR,
        now.n,
        now.value,
        increase,
        error,
        increase - width - now.bin_error,
        config.alpha,
        now.unit,
        now.clusters,
    )


@dataclass(frozen=True)
class PerformanceReport:
    """A window's metrics beside the holdout's, and whether the difference is harm."""

    status: PerformanceStatus
    metric: str
    """The configured metric, which the test is about."""
    n: int
    """Labelled rows that can be used."""
    unusable: int
    """Labelled rows without a finite score or label."""
    current: Mapping[str, Estimate]
    reference: Mapping[str, Estimate]
    increase: float | None = None
    """How much worse the window is than the holdout, in units of the metric; positive is worse."""
    standard_error: float | None = None
    p_value: float | None = None
    loss_change: float | None = None
    """The change of the mean loss per row, which impacts are compared with."""
    explained: float | None = None
    """The part of that change which input drift explains (`keel.monitoring.drift.explained_change`)."""
    arrival: LabelArrival = LabelArrival(0, 0)
    labels_missing: bool = False
    """Whether labels that have matured did not arrive, whatever the status."""
    max_degradation: float | None = None
    """Largest tolerated increase."""
    alpha: float | None = None
    """The level of the test."""
    long_run: LongRun | None = None
    """All labels of the version."""
    alarms: tuple[LiveAlarm, ...] = ()
    """The open live alarms that show harm, the one with most evidence first."""

    @property
    def unexplained(self) -> float | None:
        """The rest of the change, due to a changed relation; None without labels or a loss on the grid."""
        if self.loss_change is None or self.explained is None:
            return None
        return self.loss_change - self.explained

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, NaN as None."""
        return {
            "status": str(self.status),
            "metric": self.metric,
            "n": self.n,
            "unusable": self.unusable,
            "due": self.arrival.due,
            "label_rate": self.arrival.rate,
            "labels_missing": self.labels_missing,
            "current": {name: _json(e) for name, e in self.current.items()},
            "reference": {name: _json(e) for name, e in self.reference.items()},
            "increase": finite_or_none(self.increase),
            "standard_error": finite_or_none(self.standard_error),
            "p_value": finite_or_none(self.p_value),
            "loss_change": finite_or_none(self.loss_change),
            "explained": finite_or_none(self.explained),
            "unexplained": finite_or_none(self.unexplained),
            "max_degradation": self.max_degradation,
            "alpha": self.alpha,
            "long_run": self.long_run.to_dict() if self.long_run else None,
            "alarms": [alarm.to_dict() for alarm in self.alarms],
        }


def detect_degradation(
    rows: Scored,
    reference: Mapping[str, Estimate],
    reference_loss: float | None,
    config: PerformanceConfig,
    *,
    explained: float | None = None,
    arrival: LabelArrival | None = None,
    long_run: LongRun | None = None,
    current: Mapping[str, Estimate] | None = None,
    alarms: Sequence[LiveAlarm] = (),
) -> PerformanceReport:
    """Compare a window's metrics with the holdout's, by a test that includes the sampling error of both.

    Parameters
    ----------
    rows
        The window's labelled predictions. Rows without a finite score or label are counted as ``unusable``.
    reference
        Holdout estimates by metric name. Without ``config.metric``, as after a change of the configuration, it is
        undefined on the holdout, with no rows.
    reference_loss
        The holdout's mean loss per row (`keel.stats.metrics.losses.row_loss` of ``config.metric``). None if only the
        loss of another metric is known: the change of the loss is then not reported.
    explained
        The change of the mean loss that input drift explains, if known.
    arrival
        How many labels have matured and arrived. Without it no label is reported as missing.
    long_run
        All labels of the version, if there are enough.
    current
        The window's estimates, where their errors are known better than those of independent rows.
    alarms
        Open alarms of the live monitors of the mean loss. Each is a proof of harm at the monitors' own error rate.

    A window has *degraded* when the increase is significant (one-sided z at ``alpha``) and material
    (above ``max_degradation``). Below ``min_rows`` it is *insufficient*, without any row *no_labels*. Where the metric
    is not defined on the window or on the holdout, as the AUC of one class, it is *undefined*. A window that shows no
    harm, or has too few labels to show it, is *degraded* too where all labels of the version or a live alarm show it.
    Whatever the status, labels are missing when at least ``min_rows`` predictions have matured and fewer than
    ``min_label_rate`` of them have a label.

    """
    usable = finite_rows(config.metric, rows)
    labelled = rows.take(usable)
    n = len(labelled)
    metrics: tuple[str, ...] = (config.metric, *config.extra_metrics)
    if current is None:
        current = {name: estimate(name, labelled) for name in metrics} if n else {}
    arrival = arrival or LabelArrival(0, 0)
    reference = {config.metric: NOT_MEASURED, **reference}
    counted = PerformanceReport(
        status=PerformanceStatus.NO_LABELS if n == 0 else PerformanceStatus.INSUFFICIENT,
        metric=config.metric,
        n=n,
        unusable=len(rows) - n,
        current=current,
        reference=reference,
        arrival=arrival,
        labels_missing=arrival.missing(config),
        max_degradation=config.max_degradation,
        alpha=config.alpha,
        long_run=long_run,
        alarms=tuple(alarms),
    )
    harmed = bool(alarms) or (long_run is not None and long_run.is_harm(config.max_degradation))
    if n < config.min_rows:
        return replace(counted, status=PerformanceStatus.DEGRADED) if harmed else counted
    tested = _test(counted, config)
    if tested.status is PerformanceStatus.UNDEFINED:
        return tested
    if harmed:
        tested = replace(tested, status=PerformanceStatus.DEGRADED)
    if reference_loss is None:
        return tested
    loss_change = float(row_loss(config.metric, labelled).mean()) - reference_loss
    return replace(tested, loss_change=loss_change, explained=explained)


def _test(counted: PerformanceReport, config: PerformanceConfig) -> PerformanceReport:
    """Test the metric against the holdout's, where both are defined."""
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
    """Return P(Z ≥ difference / error); without an error it is 0 or 1."""
    if error == 0:
        return 0.0 if difference > 0 else 1.0
    return 0.5 * math.erfc(difference / error / math.sqrt(2))


def _json(e: Estimate) -> dict[str, float | int | None]:
    return {"value": finite_or_none(e.value), "standard_error": finite_or_none(e.standard_error), "n": e.n}
