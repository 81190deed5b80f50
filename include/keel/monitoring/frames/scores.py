"""Read targets and predictions of two frames, and measure how well the ones predict the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.config import PerformanceConfig
from keel.config.loading import validated
from keel.config.sections import METRICS_OF_KIND
from keel.errors import ConfigError, suggestion
from keel.monitoring.frames.targets import are_classes, are_probabilities, decisions, read_values
from keel.monitoring.performance import LabelArrival, PerformanceReport, detect_degradation
from keel.stats.metrics.losses import ROW_LOSSES, Estimate, Scored, estimate, finite_rows, row_loss
from keel.stats.metrics.paired import Clusters, influence, uncertainty
from keel.values.columns import read_categories, read_numbers
from keel.values.scalars import shown

if TYPE_CHECKING:
    from keel.config import DriftConfig
    from keel.monitoring.frames.tables import Frame
    from keel.stats.metrics.losses import Floats

TOLERATED_SHARE = 0.05
"""The error of a regression has the target's unit, so what is tolerated is a share of the reference's error."""
LEAST_TOLERATED = 0.001
"""The same as a share of the labels' standard deviation, where the reference's error is near 0: a change of the last
digits is no harm."""
EXTRA_METRICS: dict[str, tuple[str, ...]] = {"brier": ("roc_auc",), "mae": ("rmse",), "rmse": ("mae",)}


PROBABILITY_METRICS = frozenset({"brier", "log_loss"})


@dataclass(frozen=True)
class ScoreColumns:
    """The columns of the target and of what is predicted of it."""

    target: str
    score: str | None
    prediction: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, the target first."""
        return tuple(name for name in (self.target, self.score, self.prediction) if name is not None)


@dataclass(frozen=True)
class Labels:
    """The target's values in one frame."""

    n: int
    """Rows with a value."""
    rows: int
    mean: float | None
    """Of a binary target the base rate; None without values, or where they are categories."""
    binary: bool = False
    """Whether every value is 0 or 1."""

    def to_dict(self) -> dict[str, float | int | None]:
        """Return JSON values."""
        return {"n": self.n, "rows": self.rows, "mean": self.mean, "binary": self.binary}


def measure_labels(frame: Frame, target: str) -> Labels | None:
    """Count the target's values, and take their mean if they are numbers; None where the frame lacks the target."""
    if target not in frame.names:
        return None
    values, invalid = read_numbers(frame.column(target))
    if invalid is not None and invalid.any():
        categories = read_categories(frame.column(target))
        known = np.array([isinstance(label, str) for label in categories.labels])[categories.codes]
        return Labels(int(known.sum()), frame.n, None)
    values = values[np.isfinite(values)]
    if not len(values):
        return Labels(0, frame.n, None)
    return Labels(len(values), frame.n, float(values.mean()), binary=bool(np.isin(values, (0, 1)).all()))


def read_scored(frame: Frame, columns: ScoreColumns) -> Scored | None:
    """Return labels and predictions of a frame, NaN where one is missing; None where a column is.

    Raises
    ------
    ConfigError
        A column holds texts that are no numbers.

    """
    if not set(columns.names) <= set(frame.names):
        return None
    label = _numbers(frame, columns.target, "target")
    score = _numbers(frame, columns.score, "score") if columns.score else None
    given = _numbers(frame, columns.prediction, "prediction") if columns.prediction else None
    if score is None:
        assert given is not None, "one of the two is named"
        score = given
    return Scored(label, score, score if given is None else given)


@dataclass(frozen=True)
class Rated:
    """Labels and predictions of both frames, and the metric that rates them."""

    metric: str
    reference: Scored
    current: Scored | None
    """None where the current frame lacks a column."""
    loss: Floats | None
    """Of each row of the reference; None where it has none, as of scores that are no probabilities."""
    notes: tuple[str, ...] = ()
    """Of rows that the metric is not defined on, a sentence each."""


def rate(reference: Frame, current: Frame, columns: ScoreColumns, metric: str | None) -> Rated | None:
    """Read labels and predictions, and choose the metric; None where the reference lacks a column.

    Rows that the metric is not defined on become NaN: labels other than 0 and 1 of a binary metric, and scores outside
    [0, 1] of one for probabilities.

    Raises
    ------
    ConfigError
        The given metric is unknown or does not fit the target, or a column holds texts that are no numbers.

    """
    before, after = (read_scored(frame, columns) for frame in (reference, current))
    if before is None:
        return None
    metric = choose_metric(before, columns, metric)
    notes: list[str] = []
    before = with_decisions(_defined(before, metric, reference.label, notes), metric, columns)
    if after is not None:
        after = with_decisions(_defined(after, metric, current.label, notes), metric, columns)
    return Rated(metric, before, after, losses_of(before, metric), tuple(notes))


def _defined(rows: Scored, metric: str, label: str, notes: list[str]) -> Scored:
    """Return the rows with NaN for what the metric is not defined on, and add a note that counts them."""
    if metric not in METRICS_OF_KIND["binary"]:
        return rows
    labels = np.isfinite(rows.label) & ~np.isin(rows.label, (0, 1))
    scores = np.isfinite(rows.score) & ~((rows.score >= 0) & (rows.score <= 1))
    scores &= metric in PROBABILITY_METRICS
    for wrong, fault in ((labels, "a target that is neither 0 nor 1"), (scores, "a score outside 0 to 1")):
        if count := int(wrong.sum()):
            notes.append(
                f"{count:,} of {len(rows):,} rows of {label} have {fault}. They do not count for the performance "
                f"({metric})."
            )
    if not labels.any() and not scores.any():
        return rows
    given = np.where(scores, np.nan, rows.score)
    return Scored(
        np.where(labels, np.nan, rows.label), given, given if rows.prediction is rows.score else rows.prediction
    )


def _numbers(frame: Frame, name: str, role: str) -> Floats:
    remedy = (
        "; the performance needs numbers: 0 and 1 for two classes, or the value itself. Convert the column, or leave "
        "score out"
    )
    return read_values(frame.column(name), f"{role}: {frame.label}: column {name!r}", remedy)


def choose_metric(reference: Scored, columns: ScoreColumns, given: str | None) -> str:
    """Return the metric that fits: by the target's values, and by whether scores are probabilities.

    Raises
    ------
    ConfigError
        The given metric is unknown, or is for labels of 0 and 1 and the reference has others.

    """
    labels = reference.label[np.isfinite(reference.label)]
    if given is not None:
        if given not in ROW_LOSSES:
            near = suggestion(str(given), ROW_LOSSES)
            raise ConfigError(f"metric: unknown metric {shown(given)}{near}; valid: {', '.join(ROW_LOSSES)}")
        other = labels[~np.isin(labels, (0, 1))]
        if given in METRICS_OF_KIND["binary"] and len(other):
            fitting = ", ".join(sorted(METRICS_OF_KIND["regression"]))
            raise ConfigError(
                f"metric: {given} is of a target of 0 and 1, and column {columns.target!r} of the reference holds "
                f"{shown(float(other[0]))}; valid for such a target: {fitting}"
            )
        return given
    if not are_classes(labels):
        return "mae"
    if columns.score is None:
        return "accuracy"
    return "brier" if are_probabilities(reference.score) else "roc_auc"


def with_decisions(rows: Scored, metric: str, columns: ScoreColumns) -> Scored:
    """Return the rows with decisions of 0 and 1 for a binary target, where none are given."""
    if metric in {"mae", "rmse"} or columns.prediction is not None:
        return rows
    return Scored(rows.label, rows.score, decisions(rows.score))


def losses_of(rows: Scored, metric: str) -> Floats | None:
    """Return the loss of each row, NaN where it is not known; None if no row's is, or scores are no probabilities."""
    usable = finite_rows(metric, rows)
    probabilities = metric not in {*PROBABILITY_METRICS, "roc_auc"} or are_probabilities(rows.score[usable])
    if not usable.any() or not probabilities:
        return None
    losses = np.full(len(rows), math.nan)
    losses[usable] = row_loss(metric, rows.take(usable))
    return losses if np.isfinite(losses).any() else None


def measure_performance(
    rated: Rated,
    config: DriftConfig,
    *,
    max_degradation: float | None,
    explained: float | None,
    times: tuple[Any | None, Any | None],
) -> PerformanceReport:
    """Compare the performance of two frames, both of which have the columns.

    max_degradation: how much worse is tolerated, in units of the metric; None for 0.01, and for a regression
    `TOLERATED_SHARE` of the reference's error. times: of both frames' rows, datetime64, NaT where unknown; None without
    any. With them errors are clustered by day, or by the longest shorter unit that has enough clusters.
    """
    metric, current = rated.metric, rated.current
    assert current is not None, "the current frame has the columns"
    metrics = (metric, *EXTRA_METRICS.get(metric, ()))
    before, after = (_estimates(metrics, rows, at) for rows, at in zip((rated.reference, current), times, strict=True))
    if max_degradation is None:
        max_degradation = _tolerated(rated, before[metric])
    loss = None if rated.loss is None else float(np.nanmean(rated.loss))
    if isinstance(max_degradation, float) and not math.isfinite(max_degradation):
        raise ConfigError(f"max_degradation: {max_degradation} is no finite number; it is in units of the metric")
    settings = validated(
        PerformanceConfig,
        {
            "metric": metric,
            "max_degradation": max_degradation,
            "alpha": config.alpha,
            "min_rows": max(2, config.min_rows),
            "min_label_rate": 0.0,
            "extra_metrics": metrics[1:],
        },
        origin="keel.detect",
    )
    labelled = int(finite_rows(metric, current).sum())
    return detect_degradation(
        current,
        before,
        loss,
        settings,
        explained=explained,
        arrival=LabelArrival(len(current), labelled),
        current=after if labelled else {},
    )


def _tolerated(rated: Rated, before: Estimate) -> float:
    if rated.metric not in METRICS_OF_KIND["regression"] or not before.defined:
        return 0.01
    labels = rated.reference.label[finite_rows(rated.metric, rated.reference)]
    return max(TOLERATED_SHARE * before.value, LEAST_TOLERATED * float(labels.std()))


def _estimates(metrics: tuple[str, ...], rows: Scored, times: Any | None) -> Mapping[str, Estimate]:
    rows_of = {name: finite_rows(name, rows) for name in metrics}
    return {
        name: estimate_clustered(name, rows.take(usable), None if times is None else times[usable])
        for name, usable in rows_of.items()
    }


def estimate_clustered(metric: str, rows: Scored, times: Any | None) -> Estimate:
    """Return a metric with its error; by clusters of time where the rows fall into enough of them."""
    plain = estimate(metric, rows)
    if times is None or len(rows) < 2 or not plain.defined:
        return plain
    error = uncertainty(influence(metric, rows).contributions, clusters_of(times)).standard_error
    return Estimate(plain.value, error, plain.n) if math.isfinite(error) else plain


def clusters_of(times: Any) -> Clusters:
    """Return the clusters of rows by time; a row without a time is a cluster of its own, and the neighbour of none."""
    known = ~np.isnat(times)
    found = Clusters.of(times[known])
    if known.all() or found.unit == "row":
        return found if known.all() else Clusters.rows(len(times))
    alone = int((~known).sum())
    number = np.empty(len(times), dtype=np.int64)
    number[known] = found.number
    number[~known] = found.number.max() + 2 * np.arange(1, alone + 1)
    return Clusters(found.unit, number, found.count + alone)


def cluster_unit(rated: Rated, rows: Scored | None, times: Any | None) -> str:
    """Return the unit that errors are clustered by: ``day``, ``6 h``, ``hour`` or ``row``; empty without times."""
    if times is None or rows is None:
        return ""
    known = times[finite_rows(rated.metric, rows)]
    return clusters_of(known).unit
