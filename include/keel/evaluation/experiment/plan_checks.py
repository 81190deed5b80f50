"""What makes a plan of an experiment one that cannot be carried out, or could not end in a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from keel.stats.metrics.losses import ROW_LOSSES
from keel.stats.sequential.bounded_losses import bounded_loss

if TYPE_CHECKING:
    from keel.evaluation.experiment.plan import Plan
    from keel.stats.metrics.losses import Estimate


def problems(plan: Plan) -> Iterator[str]:
    """Yield what keeps a plan from being carried out or from ending in a verdict, with what would be right."""
    if plan.champion == plan.challenger:
        yield f"version {plan.champion} cannot be compared with itself: name another challenger"
    for name in ("experiment_id", "model", "salt"):
        if not getattr(plan, name):
            yield f"{name} must not be empty"
    if plan.mode not in ("ab", "shadow"):
        yield f"mode must be 'ab' or 'shadow', not {plan.mode!r}"
    if not 0 < plan.alpha < 0.5:
        yield f"alpha ({plan.alpha}) must lie between 0 and 0.5"
    if not math.isfinite(plan.margin):
        yield f"margin ({plan.margin}) must be a number"
    if plan.max_n < 1:
        yield f"max_n ({plan.max_n}) must be at least 1"
    if plan.started_at.utcoffset() is None:
        yield "started_at must say its time zone"
    yield from _problems_of_times(plan)
    yield from _problems_of_metric(plan)
    yield from _problems_of_stages(plan)


def _problems_of_times(plan: Plan) -> Iterator[str]:
    if plan.least < timedelta(0):
        yield f"least ({plan.least}) must not be negative"
    if plan.most <= plan.least:
        yield f"most ({plan.most}) must be longer than least ({plan.least}), before which there is no verdict"
    ramp = sum((stage.duration or timedelta(0) for stage in plan.stages), timedelta(0))
    if plan.most <= ramp:
        yield f"most ({plan.most}) must be longer than the ramp ({ramp}), or its last stage is never reached"


def _problems_of_metric(plan: Plan) -> Iterator[str]:
    if plan.metric not in ROW_LOSSES:
        yield f"{plan.metric!r} has no loss per row; an experiment can be judged by: {', '.join(sorted(ROW_LOSSES))}"
    elif bounded_loss(plan.metric, plan.promised) is None:
        yield (
            f"a {plan.metric} has no bound by itself, and what is kept with version {plan.champion} of its holdout "
            "does not say at what to cut an error: register the champion with a holdout"
        )
    elif not abs(plan.least_improvement) < 1 or (plan.metric == "rmse" and plan.margin**2 >= _loss_of(plan.promised)):
        yield f"no improvement can exceed a margin of {plan.margin}: name a smaller one"


def _loss_of(promised: Estimate | None) -> float:
    return math.inf if promised is None else promised.value


def _problems_of_stages(plan: Plan) -> Iterator[str]:
    stages = plan.stages
    if plan.mode == "shadow":
        if stages:
            yield "a shadow experiment has no allocation: the champion answers everybody"
        return
    if not stages:
        yield "an A/B experiment needs an allocation: the challenger's share, or several with their durations"
    for stage in stages:
        if not 0 < stage.share < 1:
            yield f"an allocation ({stage.share}) must lie between 0 and 1"
        if stage.duration is not None and stage.duration <= timedelta(0):
            yield f"a stage's duration ({stage.duration}) must be longer than nothing"
    if any(after.share < before.share for before, after in zip(stages, stages[1:], strict=False)):
        shares = ", ".join(f"{stage.share:g}" for stage in stages)
        yield f"allocations must not fall ({shares}): whom the challenger has answered would go back to the champion"
    if any(stage.duration is None for stage in stages[:-1]):
        yield "every stage but the last needs a duration"
    if stages and stages[-1].duration is not None:
        yield "the last stage lasts until the experiment ends: leave its duration out"
