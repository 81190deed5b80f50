"""What every page calls a metric, which of its values are better, which are tolerated, and what made them change."""

from __future__ import annotations

from keel.ledger.wording import METRICS
from keel.reports.charts.specs import Interval, Intervals
from keel.reports.numbers import signed
from keel.stats.metrics.losses import HIGHER_IS_BETTER

Z_95 = 1.96
"""Normal quantile of a two-sided 95% interval."""


_LOSSES = {"roc_auc": "Brier score", "accuracy": "error rate", "rmse": "mean squared error"}
"""The mean of the loss of a row (`keel.stats.metrics.losses.ROW_LOSSES`), where it is not the metric itself."""


def metric_name(metric: str) -> str:
    """Return the name of a metric for people.

    >>> metric_name("brier"), metric_name("mae"), metric_name("other")
    ('Brier score', 'mean absolute error', 'other')
    """
    return METRICS.get(metric, metric).partition(" (")[0]


def row_loss_name(metric: str) -> str:
    """Return the name of the mean loss that impacts on a metric are in; of all of them lower is better.

    >>> row_loss_name("roc_auc"), row_loss_name("accuracy"), row_loss_name("mae")
    ('Brier score', 'error rate', 'mean absolute error')
    """
    return _LOSSES.get(metric) or metric_name(metric)


def better(metric: str) -> str:
    """Return which values of a metric are better, in words.

    >>> better("brier"), better("roc_auc")
    ('lower is better', 'higher is better')
    """
    return METRICS.get(metric, "").partition("(")[2].rstrip(")")


def limit_of(metric: str, baseline: float | None, max_degradation: float | None) -> float | None:
    """Return the worst tolerated value of a metric.

    >>> limit_of("brier", 0.15, 0.01), limit_of("roc_auc", 0.75, 0.05), limit_of("mae", None, 1.0)
    (0.16, 0.7, None)
    """
    if baseline is None or max_degradation is None:
        return None
    return baseline - max_degradation if metric in HIGHER_IS_BETTER else baseline + max_degradation


def causes_chart(change: float, explained: float, unexplained: float, *, against: str = "") -> Intervals:
    """Return the change of the mean loss, and the parts of it that the inputs and a changed relation explain."""
    rows = (
        Interval("change of the loss", change, detail=signed(change)),
        Interval("explained by the inputs", explained, detail=signed(explained)),
        Interval("by a changed relation", unexplained, detail=signed(unexplained)),
    )
    name = f"Change of the mean loss against {against}" if against else "Change of the mean loss"
    return Intervals(name, rows, line=0.0, line_label="no change")
