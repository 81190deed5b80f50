"""The gate where the truth is known: how often it lets pass what is worse, equal and better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.config import PromotionConfig
from keel.evaluation.holdout.comparison import Comparison, Verdict, compare_versions, comparison_level
from keel.stats.metrics.losses import Scored
from keel.stats.metrics.paired import Clusters, improvement, influence, uncertainty

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Times = NDArray[np.datetime64]

BINARY = ("brier", "log_loss", "roc_auc", "accuracy")
METRICS = (*BINARY, "mae", "rmse")
ALPHA = PromotionConfig().alpha
LEVEL = comparison_level(ALPHA, 0)
HOLDOUT_END = datetime(2026, 1, 22, tzinfo=UTC)
DAYS = 21
ROWS = 2_100
CHAMPION = 1.5
WORSE, AT_MARGIN, BETTER, MUCH_BETTER = 1.4, 1.45, 1.6, 1.8
CHALLENGERS = 10
"""Judged one after the other on one holdout."""


@dataclass(frozen=True)
class World:
    """How rows depend on each other."""

    name: str
    day: float = 0.0
    """Standard deviation of what a version is off by on a whole day, on the scale of the logit or of a row's noise."""
    neighbours: float = 0.0
    """Correlation of one day with the next."""


INDEPENDENT = World("independent rows")
CLUSTERED = World("days", day=0.5)
WEATHER = World("days that last", day=0.5, neighbours=0.3)
WORLDS = (INDEPENDENT, CLUSTERED, WEATHER)


def spread(n: int) -> Times:
    """Times spread evenly over the three weeks that end with `HOLDOUT_END`."""
    end = np.datetime64(HOLDOUT_END.replace(tzinfo=None), "us")
    return end - (np.arange(n, 0, -1) * (DAYS * 86_400_000_000 // max(n, 1))).astype("timedelta64[us]")


def day_effects(rng: np.random.Generator, world: World) -> Floats:
    """What each day adds, with mean 0 and standard deviation ``world.day``."""
    shocks, effects = rng.standard_normal(DAYS), np.empty(DAYS)
    effects[0] = shocks[0]
    for day in range(1, DAYS):
        effects[day] = world.neighbours * effects[day - 1] + math.sqrt(1 - world.neighbours**2) * shocks[day]
    return world.day * effects


def versions_in(world: World, qualities: Sequence[float], *, seed: int, n: int, binary: bool) -> list[Scored]:
    """Return versions of these qualities on the same rows: of equal quality, nothing but chance tells them apart."""
    rng = np.random.default_rng([seed, n])
    day = np.arange(n) * DAYS // n
    label = (rng.random(n) < 0.3).astype(float)
    common = rng.standard_normal(n)

    def version(quality: float) -> Scored:
        off, noise = day_effects(rng, world)[day], rng.standard_normal(n)
        if not binary:
            return Scored(label, np.full(n, np.nan), label + (2.5 - quality) * (off + noise))
        score = 1 / (1 + np.exp(1.2 - quality * label - np.sqrt(0.8) * common - np.sqrt(0.2) * noise - off))
        return Scored(label, score, (score > 0.5).astype(float))

    return [version(quality) for quality in qualities]


def judge(champion: Scored, challenger: Scored, metric: str, *, looks: int = 0, **policy: Any) -> Comparison:
    """Have the gate judge rows of `spread`."""
    return compare_versions(
        champion, challenger, metric=metric, policy=PromotionConfig(**policy), times=spread(len(champion)),
        segments={}, prior_comparisons=looks, holdout_end=HOLDOUT_END,
    )  # fmt: skip


def naive_bound(champion: Scored, challenger: Scored, metric: str, *, days: bool) -> float:
    """Return the lower bound by an error of independent rows, or of days that have nothing to do with the next."""
    better = improvement(metric, influence(metric, champion), influence(metric, challenger))
    clusters = Clusters.of(spread(len(champion))) if days else Clusters.rows(len(champion))
    return better.value - uncertainty(better.contributions, clusters, neighbours=0.0).half_width(LEVEL)


def promotions(
    metric: str, n: int, trials: int, *, quality: float = CHAMPION, world: World = INDEPENDENT, margin: float = 0.0
) -> float:
    """Return the share of challengers of ``quality`` that pass."""
    passed = 0
    for seed in range(trials):
        both = versions_in(world, (CHAMPION, quality), seed=seed, n=n, binary=metric in BINARY)
        passed += judge(*both, metric, margin=margin).verdict is Verdict.PASS
    return passed / trials


def naive_promotions(metric: str, trials: int, *, world: World, days: bool) -> float:
    """Return the share of equal challengers that would pass by a simpler error."""
    passed = 0
    for seed in range(trials):
        both = versions_in(world, (CHAMPION, CHAMPION), seed=seed, n=ROWS, binary=metric in BINARY)
        passed += naive_bound(*both, metric, days=days) > 0
    return passed / trials


def true_difference(metric: str, world: World, quality: float, trials: int) -> float:
    """Return how much better a version of ``quality`` is than the champion, over holdouts that nothing else uses."""
    found = 0.0
    for seed in range(trials):
        both = versions_in(world, (CHAMPION, quality), seed=10**6 + seed, n=ROWS, binary=metric in BINARY)
        found += improvement(metric, *(influence(metric, version) for version in both)).value
    return found / trials


def ever_promoted(metric: str, world: World, trials: int) -> tuple[float, float]:
    """Return how often any of ten equal challengers passes on one holdout: as they are judged, and each at α."""
    by_looks = at_alpha = 0
    for seed in range(trials):
        equal = (CHAMPION,) * (CHALLENGERS + 1)
        champion, *others = versions_in(world, equal, seed=seed, n=ROWS, binary=metric in BINARY)
        found = [judge(champion, other, metric, looks=looks) for looks, other in enumerate(others)]
        by_looks += any(one.verdict is Verdict.PASS for one in found)
        at_alpha += any(one.improvement - one.uncertainty.half_width(ALPHA) > 0 for one in found)
    return by_looks / trials, at_alpha / trials


CARRIERS = np.array([17.5, 16.5, 15.5, 14.5, 9.8, 8.0, 6.2, 5.5, 3.7, 1.5, 0.8, 0.2, 0.2, 0.1])
"""Percent of the flights that each of fourteen carriers has; nine have more than 500 of three weeks' 19,000."""
FLIGHTS = 19_000
LARGEST, SMALLEST = 0, 8
"""Of the carriers that are judged."""


@dataclass(frozen=True)
class Difference:
    """How the losses of two versions differ, as standard deviations; measured on flights (Brier score)."""

    name: str
    row: float
    day: float
    """Of what all flights of a day share."""
    carrier_day: float
    """Of what a carrier's flights of a day share."""


REFRESH = Difference("trained four days apart", row=0.045, day=0.005, carrier_day=0.005)
RENEWAL = Difference("trained three months apart", row=0.13, day=0.022, carrier_day=0.02)


def segments_shown(difference: Difference, gain: float, worse: int | None, trials: int) -> tuple[float, float]:
    """Return how often no carrier is left that may be worse by the margin: as judged, and with Bonferroni's correction.

    gain: how much better the challenger is everywhere, but for the carrier ``worse``, where it is worse by the margin.
    """
    policy = PromotionConfig(segments=("carrier",))
    judged = corrected = 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        carrier = rng.choice(len(CARRIERS), FLIGHTS, p=CARRIERS / CARRIERS.sum())
        day = np.arange(FLIGHTS) * DAYS // FLIGHTS
        own = difference.carrier_day * rng.standard_normal((DAYS, len(CARRIERS)))
        shared = day_effects(rng, World("", day=difference.day, neighbours=0.3))
        better = gain + shared[day] + own[day, carrier] + difference.row * rng.standard_normal(FLIGHTS)
        if worse is not None:
            better[carrier == worse] -= gain + policy.segment_margin
        zero = np.zeros(FLIGHTS)
        found = compare_versions(
            Scored(zero, zero, 9 + better), Scored(zero, zero, zero + 9), metric="mae", policy=policy,
            times=spread(FLIGHTS), segments={"carrier": carrier.astype(str)}, prior_comparisons=0,
            holdout_end=HOLDOUT_END,
        ).segments.evaluated  # fmt: skip
        judged += all(segment.lower_bound > -policy.segment_margin for segment in found)
        corrected += all(segment.simultaneous[0] > -policy.segment_margin for segment in found)
    return judged / trials, corrected / trials
