"""Champion and challenger on the same holdout, which neither has seen: is the challenger shown to be better?"""

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
from keel.evaluation.holdout.segments import Segments, SegmentStatus, evaluate_segments, named
from keel.evaluation.holdout.usable_rows import BINARY, UsableRows, usable_rows
from keel.stats.json_numbers import finite_or_none
from keel.stats.metrics.losses import Estimate, Scored, needed_for
from keel.stats.metrics.paired import Clusters, Influence, Uncertainty, improvement, influence, mcnemar, uncertainty

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.config import PromotionConfig

MIN_EFFECTIVE_ROWS = 10
"""Below it a handful of rows makes the whole difference, and no quantile of Student's tells how sure it is."""
MIN_EFFECTIVE_CLUSTERS = 3
"""Below it the correlation between neighbours, and so the error, is little more than a guess."""


class NotShownBetter(KeelError):
    """A challenger was to be promoted on a comparison that does not show it to be better."""


class Verdict(StrEnum):
    """What a comparison says of a challenger; only a pass speaks for it."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


NOTHING = Estimate(math.nan, math.nan, 0)
UNKNOWN = Uncertainty(*[math.nan] * 5)


@dataclass(frozen=True)
class Comparison:
    """One challenger judged against one champion: everything that is needed to dispute the verdict."""

    verdict: Verdict
    reason: str
    metric: str
    rows: UsableRows
    policy: PromotionConfig
    level: float
    """The error allowed at this look; over all looks at these rows they add up to ``policy.alpha``."""
    prior_comparisons: int
    clusters: Clusters
    champion: Estimate = NOTHING
    challenger: Estimate = NOTHING
    improvement: float = math.nan
    """How much better the challenger is, in units of the metric; positive is better."""
    uncertainty: Uncertainty = UNKNOWN
    lower_bound: float = math.nan
    """One-sided lower confidence bound of the improvement at 1 − level."""
    segments: Segments = Segments()
    speed: LimitsCheck | None = None
    balance: Mapping[str, int] | None = None
    also: Mapping[str, Any] = field(default_factory=dict)
    mcnemar: Mapping[str, float | int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, NaN as None."""
        sure = self.uncertainty
        numbers = {
            "champion_value": self.champion.value, "champion_standard_error": self.champion.standard_error,
            "challenger_value": self.challenger.value, "challenger_standard_error": self.challenger.standard_error,
            "improvement": self.improvement, "standard_error": sure.standard_error,
            "row_standard_error": sure.row_error, "lower_bound": self.lower_bound, "margin": self.policy.margin,
            "level": self.level, "alpha": self.policy.alpha,
        }  # fmt: skip
        effective = {"effective": sure.effective_clusters, "neighbours": sure.neighbours}
        return {
            "verdict": str(self.verdict), "reason": self.reason, "metric": self.metric, "n": self.rows.n,
            "n_left_out": {"total": len(self.rows.mask) - self.rows.n, **self.rows.left_out},
            "clusters": self.clusters.to_dict() | _plain(effective), **_plain(numbers),
            "effective_rows": finite_or_none(sure.effective_rows), "prior_comparisons": self.prior_comparisons,
            "segments": self.segments.to_dict() if self.policy.segments else None,
            "segment_margin": self.policy.segment_margin, "speed": self.speed.to_dict() if self.speed else None,
            "labels": {"newest": self.rows.newest.isoformat() if self.rows.newest else None, "balance": self.balance},
            "also": self.also, "mcnemar": self.mcnemar,
            "policy": self.policy.model_dump(mode="json", include=set(JUDGED_BY)),
        }  # fmt: skip


JUDGED_BY = ("margin", "alpha", "min_rows", "max_label_age", "segments", "segment_margin", "segment_min_rows",
             "max_slowdown", "max_latency_ms", "max_size_mb")  # fmt: skip
"""The keys of the policy that a verdict rests on, kept with it."""


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
    """Judge a challenger by the lower confidence bound of its paired improvement.

    It *passes* when the bound exceeds ``policy.margin``, no segment is left in which it may be worse by
    ``segment_margin``, and it is as fast and small as the policy asks. It *fails* where one of these is not shown. What
    cannot be judged is *inconclusive*: rows that are too few, stale or spoilt, a metric or a speed that is not there.
    What has failed has failed, also where something else cannot be judged. An equal challenger passes with a chance of
    about ``alpha`` at most, over all looks at the same rows together.

    times, segments: each row's time (UTC), and value of each of ``policy.segments``. prior_comparisons: made
    before on rows of this holdout. speed: see `check_limits`.
    """
    level = comparison_level(policy.alpha, prior_comparisons)
    rows = usable_rows(metric, champion, challenger, times, holdout_end)
    found: dict[str, Any] = {
        "metric": metric, "rows": rows, "policy": policy, "level": level, "prior_comparisons": prior_comparisons,
        "clusters": Clusters.of(times[rows.mask]), "speed": check_limits(speed, policy),
    }  # fmt: skip
    if reason := rows.missing(policy, holdout_end) or _misfit(policy, segments):
        return Comparison(Verdict.INCONCLUSIVE, f"inconclusive: {reason}", **found)
    return _concluded(_measured(champion.take(rows.mask), challenger.take(rows.mask), found, segments))


def _concluded(judged: Comparison) -> Comparison:
    """Give a comparison that has all its numbers the verdict that they allow."""
    failed, unknown = _failed(judged), _unknown(judged)
    if not failed and not unknown and _is_shown(judged):
        return replace(judged, verdict=Verdict.PASS, reason=_shown(judged))
    if failed:
        return replace(judged, verdict=Verdict.FAIL, reason="; ".join(failed))
    return replace(judged, reason=f"inconclusive: {'; '.join(unknown) or 'a number that decides is not finite'}")


def comparison_level(alpha: float, prior_comparisons: int) -> float:
    """Return the error allowed at the next look at rows that were looked at before: α·6/(π²k²) at the k-th.

    However many looks follow, the levels add up to α, so that equal challengers, judged one after the other on the same
    rows, are ever promoted with a chance of at most α.

    >>> [round(comparison_level(0.05, earlier), 4) for earlier in (0, 1, 2, 9)]
    [0.0304, 0.0076, 0.0034, 0.0003]
    """
    if prior_comparisons < 0:
        raise ValueError(f"prior_comparisons: {prior_comparisons} is no number of looks")
    return alpha * 6 / (math.pi * (prior_comparisons + 1)) ** 2


def _misfit(policy: PromotionConfig, segments: Mapping[str, Any]) -> str | None:
    """Say what a policy asks for that no data could meet, or that the rows do not have."""
    if not (math.isfinite(policy.margin) and math.isfinite(policy.segment_margin)):
        return "a margin that is no finite number is none: set promotion.margin and promotion.segment_margin"
    if gone := [name for name in policy.segments if name not in segments]:
        return f"the rows do not say {', '.join(gone)}, by which promotion.segments divides them"
    return None


def _measured(a: Scored, b: Scored, found: dict[str, Any], segments: Mapping[str, NDArray[Any]]) -> Comparison:
    """Return the comparison of usable rows with its numbers, and no verdict yet."""
    metric, policy, clusters, level = found["metric"], found["policy"], found["clusters"], found["level"]
    kind = "binary" if metric in BINARY else "regression"
    with np.errstate(all="ignore"):  # what overflows is not finite, and that is looked for
        first, second = influence(metric, a), influence(metric, b)
        better = improvement(metric, first, second)
        sure = uncertainty(better.contributions, clusters)
        also = {
            name: {who: _plain(_estimate(influence(name, rows), clusters).to_dict())
                   for who, rows in (("champion", a), ("challenger", b))}
            for name in sorted(METRICS_OF_KIND[kind] - {metric})
        }  # fmt: skip
        parts = evaluate_segments(
            a, b, metric=metric, policy=policy, clusters=clusters, neighbours=sure.neighbours, level=level,
            columns={name: segments[name][found["rows"].mask] for name in policy.segments},
        )  # fmt: skip
    positive = int((a.label > 0).sum())
    return Comparison(
        Verdict.INCONCLUSIVE, "", **found, champion=_estimate(first, clusters), challenger=_estimate(second, clusters),
        improvement=better.value, uncertainty=sure, lower_bound=better.value - sure.half_width(level), segments=parts,
        balance={"positive": positive, "negative": len(a) - positive} if kind == "binary" else None,
        also=also, mcnemar=mcnemar(a, b) if kind == "binary" else None,
    )  # fmt: skip


def _estimate(found: Influence, clusters: Clusters) -> Estimate:
    return Estimate(found.value, uncertainty(found.contributions, clusters).standard_error, len(found.contributions))


def _failed(found: Comparison) -> list[str]:
    """Say what was judged and is not good enough."""
    told, margin = [], found.policy.margin
    if math.isfinite(found.improvement) and found.improvement <= margin:
        told.append(
            f"not better by more than {margin:g}: the improvement in {found.metric} is {found.improvement:+.4f}"
        )
    elif _is_sure(found) and found.lower_bound <= margin:
        told.append(
            f"an improvement of {found.improvement:+.4f} in {found.metric}, but not shown: the lower bound with "
            f"{1 - found.level:.1%} confidence, {found.lower_bound:+.4f}, is not above {margin:g}"
        )
    if worse := found.segments.of(SegmentStatus.INFERIOR):
        told.append(f"worse by more than {found.policy.segment_margin:g} within {named(worse)}")
    unclear = found.segments.of(SegmentStatus.NOT_SHOWN)
    if unclear and not told:  # else there is enough to say, and the record has them
        told.append(f"not shown to be worse by less than {found.policy.segment_margin:g} within {named(unclear)}")
    return [*told, *(found.speed.exceeded if found.speed else ())]


def _unknown(found: Comparison) -> list[str]:
    """Say what could not be judged, and the way out."""
    told, sure = [], found.uncertainty
    if not math.isfinite(found.improvement) or not math.isfinite(sure.standard_error):
        told.append(
            f"{found.metric} is not defined on this holdout: it needs {needed_for(found.metric)}{_classes(found)}"
        )
    elif not sure.effective_rows >= MIN_EFFECTIVE_ROWS:
        told.append(
            f"the difference hangs on {sure.effective_rows:.0f} of {found.rows.n:,} rows, and {MIN_EFFECTIVE_ROWS} "
            "are needed: lengthen retrain.holdout"
        )
    elif not sure.effective_clusters >= MIN_EFFECTIVE_CLUSTERS:
        told.append(
            f"the holdout's {found.clusters.count} clusters of a {found.clusters.unit} are so alike that they are "
            f"worth {sure.effective_clusters:.1f}, and {MIN_EFFECTIVE_CLUSTERS} are needed: lengthen retrain.holdout"
        )
    if undefined := found.segments.of(SegmentStatus.UNDEFINED):
        names = ", ".join(segment.name for segment in undefined[:10])
        told.append(f"{found.metric} is not defined within {names}: raise promotion.segment_min_rows")
    if found.speed and found.speed.missing:
        limits = ", ".join(f"promotion.{name}" for name in found.speed.missing)
        told.append(f"what {limits} limits was not measured: run the model's benchmark, or set it to null")
    return told


def _classes(found: Comparison) -> str:
    balance = found.balance
    return f", and there are {balance['positive']:,} positive and {balance['negative']:,} negative" if balance else ""


def _is_sure(found: Comparison) -> bool:
    """Whether the standard error can be believed."""
    sure = found.uncertainty
    return (
        math.isfinite(found.lower_bound)
        and math.isfinite(sure.standard_error)
        and sure.standard_error > 0
        and sure.effective_rows >= MIN_EFFECTIVE_ROWS
        and sure.effective_clusters >= MIN_EFFECTIVE_CLUSTERS
    )


def _is_shown(found: Comparison) -> bool:
    """Whether all that a pass asserts is so, by comparisons of finite numbers: what is NaN is never so."""
    speed, margin = found.speed, found.policy.margin
    return (
        _is_sure(found)
        and math.isfinite(found.champion.value)
        and math.isfinite(found.challenger.value)
        and math.isfinite(found.improvement)
        and margin < found.lower_bound <= found.improvement
        and all(segment.lower_bound > -found.policy.segment_margin for segment in found.segments.judged)
        and (speed is None or not (speed.exceeded or speed.missing))
    )


def _shown(found: Comparison) -> str:
    """Say what a pass asserts."""
    how = "better" if found.improvement > 0 else "worse"
    told = (
        f"{how} by {abs(found.improvement):.4f} in {found.metric} on {found.rows.n:,} rows; the lower bound with "
        f"{1 - found.level:.1%} confidence, {found.lower_bound:+.4f}, is above {found.policy.margin:g}"
    )
    if found.policy.segments:
        told += (
            f"; not worse by {found.policy.segment_margin:g} or more within any of the {len(found.segments.judged)} "
            f"segments of {', '.join(found.policy.segments)} that have rows enough"
        )
    return told


def _plain(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: finite_or_none(value) for name, value in numbers.items()}
