"""Checks of a plan's values: what keeps an experiment from being carried out, or from ending in a verdict.

Each check yields one sentence a problem, which also names a valid value. The checks take plain values, so that
`keel.evaluation.experiment.plan.Plan` can run them while it is being made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keel.stats.metrics.losses import ROW_LOSSES
from keel.stats.sequential.bounded_losses import bounded_loss

if TYPE_CHECKING:
    from keel.evaluation.experiment.stages import Stage
    from keel.stats.metrics.losses import Estimate


def check_names(names: Mapping[str, str], *, champion: int, challenger: int) -> Iterator[str]:
    """Yield the problems of the two versions and of texts that must not be empty."""
    if champion == challenger:
        yield f"version {champion} cannot be compared with itself: name another challenger"
    yield from (f"{name} must not be empty" for name, value in names.items() if not value)


def check_mode(mode: str) -> Iterator[str]:
    """Yield the problem of an unknown mode."""
    if mode not in ("ab", "shadow"):
        yield f"mode must be 'ab' or 'shadow', not {mode!r}"


def check_numbers(*, alpha: float, margin: float, max_outcomes: int) -> Iterator[str]:
    """Yield the problems of the error level, the margin and the number of outcomes."""
    if not 0 < alpha < 0.5:
        yield f"alpha ({alpha}) must lie between 0 and 0.5"
    if not math.isfinite(margin):
        yield f"margin ({margin}) must be a number"
    if max_outcomes < 1:
        yield f"max_outcomes ({max_outcomes}) must be at least 1"


def check_times(
    *, started_at: datetime, min_duration: timedelta, max_duration: timedelta, stages: Sequence[Stage]
) -> Iterator[str]:
    """Yield the problems of the start, of the shortest and longest duration, and of a ramp longer than these."""
    if started_at.utcoffset() is None:
        yield "started_at must have a time zone"
    if min_duration < timedelta(0):
        yield f"min_duration ({min_duration}) must not be negative"
    if max_duration <= min_duration:
        yield (
            f"max_duration ({max_duration}) must be longer than min_duration ({min_duration}), "
            "before which there is no verdict"
        )
    ramp = sum((stage.duration or timedelta(0) for stage in stages), timedelta(0))
    if max_duration <= ramp:
        yield f"max_duration ({max_duration}) must be longer than the ramp ({ramp}), or its last stage is never reached"


def check_metric(metric: str, *, margin: float, baseline: Estimate | None, champion: int) -> Iterator[str]:
    """Yield the problems of a metric that no experiment can be evaluated by, or whose margin cannot be exceeded."""
    if metric not in ROW_LOSSES:
        yield f"{metric!r} has no loss per row; an experiment needs one of: {', '.join(sorted(ROW_LOSSES))}"
        return
    loss = bounded_loss(metric, baseline)
    if loss is None:
        yield (
            f"a {metric} has no upper bound, and the holdout statistics of version {champion} "
            "give no value at which to cap an error: register the champion with a holdout"
        )
        return
    exceeds_baseline = metric == "rmse" and baseline is not None and margin**2 >= baseline.value
    if exceeds_baseline or not abs(loss.increase(-margin, baseline)) < 1:
        yield f"no improvement can exceed a margin of {margin}: use a smaller one"


def check_stages(mode: str, stages: Sequence[Stage]) -> Iterator[str]:
    """Yield the problems of an allocation."""
    if mode == "shadow":
        if stages:
            yield "a shadow experiment has no allocation: the champion answers every request"
        return
    if not stages:
        yield "an A/B experiment needs an allocation: the challenger's share, or several with their durations"
    for stage in stages:
        if not 0 < stage.share < 1:
            yield f"an allocation ({stage.share}) must lie between 0 and 1"
        if stage.duration is not None and stage.duration <= timedelta(0):
            yield f"a stage's duration ({stage.duration}) must be positive"
    if any(after.share < before.share for before, after in zip(stages, stages[1:], strict=False)):
        shares = ", ".join(f"{stage.share:g}" for stage in stages)
        yield f"allocations must not fall ({shares}): entities of the challenger would return to the champion"
    if any(stage.duration is None for stage in stages[:-1]):
        yield "every stage but the last needs a duration"
    if stages and stages[-1].duration is not None:
        yield "the last stage lasts until the experiment ends: omit its duration"
