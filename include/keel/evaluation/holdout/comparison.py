"""Compare challenger and champion on a holdout that neither was trained on: is the challenger better?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.config.sections import METRICS_OF_KIND
from keel.errors import KeelError
from keel.evaluation.holdout.latency_limits import LimitsCheck, check_limits
from keel.evaluation.holdout.segments import Segments, SegmentStatus, describe_segments, evaluate_segments
from keel.evaluation.holdout.usable_rows import BINARY, UsableRows, usable_rows
from keel.ledger.wording import format_confidence
from keel.stats.json_numbers import finite_or_none
from keel.stats.metrics.losses import Estimate, Scored, needed_for
from keel.stats.metrics.paired import Clusters, Influence, Uncertainty, improvement, influence, mcnemar, uncertainty

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.config import PromotionConfig

MIN_EFFECTIVE_ROWS = 10
"""Minimum number of effective rows: with fewer, a few rows make the difference, and Student's quantiles do not hold."""
MIN_EFFECTIVE_CLUSTERS = 3
"""Minimum number of effective clusters: with fewer, the correlation of neighbours, and so the error, is not known."""


class NotShownBetter(KeelError):
    """Raised for a promotion whose comparison does not show the challenger to be better."""


class Verdict(StrEnum):
    """The verdicts of a comparison; the values are stored."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


NO_ESTIMATE = Estimate(math.nan, math.nan, 0)
NO_UNCERTAINTY = Uncertainty(*[math.nan] * 5)


@dataclass(frozen=True)
class Comparison:
    """The comparison of one challenger with one champion: the verdict, and all numbers that it rests on."""

    verdict: Verdict
    reason: str
    metric: str
    rows: UsableRows
    policy: PromotionConfig
    level: float
    """The error level of this comparison; the levels of all comparisons on these rows add up to ``policy.alpha``."""
    prior_comparisons: int
    clusters: Clusters
    champion: Estimate = NO_ESTIMATE
    challenger: Estimate = NO_ESTIMATE
    improvement: float = math.nan
    """The improvement by the challenger in units of the metric; positive is better."""
    uncertainty: Uncertainty = NO_UNCERTAINTY
    lower_bound: float = math.nan
    """One-sided lower confidence bound of the improvement at 1 − level."""
    segments: Segments = Segments()
    speed: LimitsCheck | None = None
    balance: Mapping[str, int] | None = None
    """Number of positive and negative labels; None for a regression."""
    extra_metrics: Mapping[str, Any] = field(default_factory=dict)
    mcnemar: Mapping[str, float | int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, NaN as None."""
        uncertainty = self.uncertainty
        numbers = {
            "champion_value": self.champion.value,
            "champion_standard_error": self.champion.standard_error,
            "challenger_value": self.challenger.value,
            "challenger_standard_error": self.challenger.standard_error,
            "improvement": self.improvement,
            "standard_error": uncertainty.standard_error,
            "row_standard_error": uncertainty.row_error,
            "lower_bound": self.lower_bound,
            "margin": self.policy.margin,
            "level": self.level,
            "alpha": self.policy.alpha,
        }
        effective = {"effective": uncertainty.effective_clusters, "neighbours": uncertainty.neighbours}
        return {
            "verdict": str(self.verdict),
            "reason": self.reason,
            "metric": self.metric,
            "n": self.rows.n,
            "n_excluded": {"total": len(self.rows.mask) - self.rows.n, **self.rows.excluded},
            "clusters": self.clusters.to_dict() | _plain(effective),
            **_plain(numbers),
            "effective_rows": finite_or_none(uncertainty.effective_rows),
            "prior_comparisons": self.prior_comparisons,
            "segments": self.segments.to_dict() if self.policy.segments else None,
            "segment_margin": self.policy.segment_margin,
            "speed": self.speed.to_dict() if self.speed else None,
            "labels": {"newest": self.rows.newest.isoformat() if self.rows.newest else None, "balance": self.balance},
            "extra_metrics": self.extra_metrics,
            "mcnemar": self.mcnemar,
            "policy": self.policy.model_dump(mode="json", include=set(POLICY_KEYS)),
        }


POLICY_KEYS = (
    "margin",
    "alpha",
    "min_rows",
    "max_label_age",
    "segments",
    "segment_margin",
    "segment_min_rows",
    "max_slowdown",
    "max_latency_ms",
    "max_size_mb",
)
"""The keys of the policy that a verdict rests on; they are stored with it."""


def compare_versions(
    champion: Scored,
    challenger: Scored,
    *,
    metric: str,
    policy: PromotionConfig,
    times: NDArray[np.datetime64],
    segments: Mapping[str, NDArray[Any]],
    prior_comparisons: int,
    holdout_end: datetime,
    speed: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare a challenger with the champion by the lower confidence bound of its paired improvement.

    It *passes* if the bound exceeds ``policy.margin``, no segment may be worse by ``segment_margin``, and it meets the
    policy's limits of latency and size. It *fails* if one of these is not shown, even if another cannot be evaluated.
    It is *inconclusive* if there are too few, stale or too many unusable rows, or if the metric or a measurement is
    missing. An equal challenger passes with a chance of about ``alpha`` at most, over all comparisons on the same rows
    together.

    Parameters
    ----------
    times
        Time of each row, in UTC.
    segments
        Value of each row in each column of ``policy.segments``.
    prior_comparisons
        Number of earlier comparisons on rows of this holdout.
    speed
        Measurements of both versions, see `check_limits`.

    """
    level = comparison_level(policy.alpha, prior_comparisons)
    rows = usable_rows(metric, champion, challenger, times, holdout_end)
    unmeasured = Comparison(
        verdict=Verdict.INCONCLUSIVE,
        reason="",
        metric=metric,
        rows=rows,
        policy=policy,
        level=level,
        prior_comparisons=prior_comparisons,
        clusters=Clusters.of(times[rows.mask]),
        speed=check_limits(speed, policy),
    )
    if reason := rows.insufficiency(policy, holdout_end) or _policy_problem(policy, segments):
        return replace(unmeasured, reason=f"inconclusive: {reason}")
    return _with_verdict(_measure(unmeasured, champion.take(rows.mask), challenger.take(rows.mask), segments))


def _with_verdict(measured: Comparison) -> Comparison:
    """Return a comparison that has its numbers with the verdict that follows from them."""
    failed, unknown = _failed(measured), _unknown(measured)
    if not failed and not unknown and _is_shown(measured):
        return replace(measured, verdict=Verdict.PASS, reason=_passed(measured))
    if failed:
        return replace(measured, verdict=Verdict.FAIL, reason="; ".join(failed))
    return replace(measured, reason=f"inconclusive: {'; '.join(unknown) or 'a required number is not finite'}")


def comparison_level(alpha: float, prior_comparisons: int) -> float:
    """Return the error level of the next comparison on the same rows: α·6/(π²k²) for the k-th.

    The levels of any number of comparisons add up to at most α. So the chance that any of a series of equal challengers
    passes on the same rows is at most α.

    >>> [round(comparison_level(0.05, prior), 4) for prior in (0, 1, 2, 9)]
    [0.0304, 0.0076, 0.0034, 0.0003]
    """
    if prior_comparisons < 0:
        raise ValueError(f"prior_comparisons ({prior_comparisons}) must not be negative")
    return alpha * 6 / (math.pi * (prior_comparisons + 1)) ** 2


def _policy_problem(policy: PromotionConfig, segments: Mapping[str, Any]) -> str | None:
    """Return what a policy requires that no data can meet, or that the rows do not have."""
    if not (math.isfinite(policy.margin) and math.isfinite(policy.segment_margin)):
        return "a margin is not a finite number: set promotion.margin and promotion.segment_margin"
    if missing := [name for name in policy.segments if name not in segments]:
        return f"the rows have no column {', '.join(missing)}, which promotion.segments names"
    return None


def _measure(
    unmeasured: Comparison, champion: Scored, challenger: Scored, segments: Mapping[str, NDArray[Any]]
) -> Comparison:
    """Return the comparison with its numbers on the usable rows, without a verdict."""
    metric, policy, clusters, level = unmeasured.metric, unmeasured.policy, unmeasured.clusters, unmeasured.level
    kind = "binary" if metric in BINARY else "regression"
    with np.errstate(all="ignore"):  # an overflow gives a number that is not finite, which is checked
        of_champion, of_challenger = influence(metric, champion), influence(metric, challenger)
        difference = improvement(metric, of_champion, of_challenger)
        error = uncertainty(difference.contributions, clusters)
        extra_metrics = {
            name: {
                who: _plain(_estimate(influence(name, rows), clusters).to_dict())
                for who, rows in (("champion", champion), ("challenger", challenger))
            }
            for name in sorted(METRICS_OF_KIND[kind] - {metric})
        }
        by_segment = evaluate_segments(
            champion,
            challenger,
            metric=metric,
            policy=policy,
            clusters=clusters,
            neighbours=error.neighbours,
            level=level,
            columns={name: segments[name][unmeasured.rows.mask] for name in policy.segments},
        )
    positive = int((champion.label > 0).sum())
    return replace(
        unmeasured,
        champion=_estimate(of_champion, clusters),
        challenger=_estimate(of_challenger, clusters),
        improvement=difference.value,
        uncertainty=error,
        lower_bound=difference.value - error.half_width(level),
        segments=by_segment,
        balance={"positive": positive, "negative": len(champion) - positive} if kind == "binary" else None,
        extra_metrics=extra_metrics,
        mcnemar=mcnemar(champion, challenger) if kind == "binary" else None,
    )


def _estimate(found: Influence, clusters: Clusters) -> Estimate:
    return Estimate(found.value, uncertainty(found.contributions, clusters).standard_error, len(found.contributions))


def _failed(found: Comparison) -> list[str]:
    """Return the criteria that are not met, as clauses."""
    failed, margin = [], found.policy.margin
    if math.isfinite(found.improvement) and found.improvement <= margin:
        failed.append(
            f"not better by more than {margin:g}: the improvement in {found.metric} is {found.improvement:+.4f}"
        )
    elif _has_valid_error(found) and found.lower_bound <= margin:
        failed.append(
            f"an improvement of {found.improvement:+.4f} in {found.metric}, but not shown: the lower bound with "
            f"{format_confidence(found.level)} confidence, {found.lower_bound:+.4f}, is not above {margin:g}"
        )
    if worse := found.segments.of(SegmentStatus.INFERIOR):
        failed.append(f"worse by more than {found.policy.segment_margin:g} within {describe_segments(worse)}")
    unclear = found.segments.of(SegmentStatus.NOT_SHOWN)
    if unclear and not failed:  # otherwise the reason is long enough; the record has the segments
        failed.append(
            f"not shown to be worse by less than {found.policy.segment_margin:g} within {describe_segments(unclear)}"
        )
    return [*failed, *(found.speed.exceeded if found.speed else ())]


def _unknown(found: Comparison) -> list[str]:
    """Return the criteria that cannot be evaluated, each with what to do, as clauses."""
    unknown, error = [], found.uncertainty
    if not math.isfinite(found.improvement) or not math.isfinite(error.standard_error):
        unknown.append(
            f"{found.metric} is not defined on this holdout: it needs {needed_for(found.metric)}{_classes(found)}"
        )
    elif not error.effective_rows >= MIN_EFFECTIVE_ROWS:
        unknown.append(
            f"the difference depends on {error.effective_rows:.0f} of {found.rows.n:,} rows, and {MIN_EFFECTIVE_ROWS} "
            "are needed: lengthen retrain.holdout"
        )
    elif not error.effective_clusters >= MIN_EFFECTIVE_CLUSTERS:
        unknown.append(
            f"the holdout's {found.clusters.count} clusters of a {found.clusters.unit} are so correlated that they are "
            f"worth {error.effective_clusters:.1f}, and {MIN_EFFECTIVE_CLUSTERS} are needed: lengthen retrain.holdout"
        )
    if undefined := found.segments.of(SegmentStatus.UNDEFINED):
        names = ", ".join(segment.name for segment in undefined[:10])
        unknown.append(f"{found.metric} is not defined within {names}: raise promotion.segment_min_rows")
    if found.speed and found.speed.missing:
        limits = ", ".join(f"promotion.{name}" for name in found.speed.missing)
        unknown.append(f"the measurement for {limits} is missing: run the model's benchmark, or set it to null")
    return unknown


def _classes(found: Comparison) -> str:
    balance = found.balance
    return f"; there are {balance['positive']:,} positive and {balance['negative']:,} negative" if balance else ""


def _has_valid_error(found: Comparison) -> bool:
    """Whether there are enough effective rows and clusters for the standard error."""
    error = found.uncertainty
    return (
        math.isfinite(found.lower_bound)
        and math.isfinite(error.standard_error)
        and error.standard_error > 0
        and error.effective_rows >= MIN_EFFECTIVE_ROWS
        and error.effective_clusters >= MIN_EFFECTIVE_CLUSTERS
    )


def _is_shown(found: Comparison) -> bool:
    """Whether every criterion of a pass is met; a NaN never meets one."""
    speed, margin = found.speed, found.policy.margin
    return (
        _has_valid_error(found)
        and math.isfinite(found.champion.value)
        and math.isfinite(found.challenger.value)
        and math.isfinite(found.improvement)
        and margin < found.lower_bound <= found.improvement
        and all(segment.lower_bound > -found.policy.segment_margin for segment in found.segments.evaluated)
        and (speed is None or not (speed.exceeded or speed.missing))
    )


def _passed(found: Comparison) -> str:
    """Return the reason of a pass, as a clause."""
    relation = "better" if found.improvement > 0 else "worse"
    reason = (
        f"{relation} by {abs(found.improvement):.4f} in {found.metric} on {found.rows.n:,} rows; the lower bound with "
        f"{format_confidence(found.level)} confidence, {found.lower_bound:+.4f}, is above {found.policy.margin:g}"
    )
    if found.policy.segments:
        reason += (
            f"; not worse by {found.policy.segment_margin:g} or more within any of the {len(found.segments.evaluated)} "
            f"segments of {', '.join(found.policy.segments)} with enough rows"
        )
    return reason


def _plain(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: finite_or_none(value) for name, value in numbers.items()}
