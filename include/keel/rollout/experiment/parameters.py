"""The parameters of an experiment, and how people write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypedDict

from keel.config.loading import parse_duration
from keel.config.renames import PARAMETERS
from keel.errors import ExperimentRefused
from keel.evaluation.experiment.plan import Stage

if TYPE_CHECKING:
    from keel.evaluation.experiment.plan import Mode

MAX_OUTCOMES = 100_000
"""Default number of outcomes after which an experiment ends: a difference that needs more is too small to matter."""


class ExperimentParameters(TypedDict, total=False):
    """The parameters of an experiment. Those that are left out, or None, have the policy's value or a default.

    An experiment may require more than the policy, but not less.
    """

    challenger: int | None
    """The version to try; default: the staged one."""
    mode: Mode
    stages: Sequence[Stage]
    """Empty in shadow mode."""
    metric: str | None
    """Default: `performance.metric`."""
    margin: float | None
    """Default: `promotion.margin`."""
    alpha: float | None
    """Default: `promotion.alpha`."""
    max_outcomes: int
    """Number of outcomes after which it ends without a difference; default: `MAX_OUTCOMES`."""
    min_duration: timedelta | None
    """Time before a verdict; default: `keel.evaluation.experiment.plan.MIN_DURATION`."""
    max_duration: timedelta | None
    """Time after which it ends in any case; default: `keel.evaluation.experiment.plan.MAX_DURATION` and the label
    delay."""
    salt: str | None
    """Default: the experiment's id."""


def refuse_renamed(parameters: Mapping[str, object]) -> None:
    """Raise `ExperimentRefused` for a parameter by its name in 0.1.0, and `TypeError` for an unknown one."""
    for name in parameters:
        if name in PARAMETERS:
            raise ExperimentRefused(f"{name} is now {PARAMETERS[name]}")
        if name not in ExperimentParameters.__annotations__:
            raise TypeError(f"{name!r} is no parameter of an experiment")


def stages_of(*, mode: str, allocation: float | None, ramp: str | None) -> tuple[Stage, ...]:
    """Return the stages of an allocation, a share in (0, 1), or of a ramp, percentages with their durations.

    Without either, a shadow experiment has no stages and an A/B test is split in half.

    Raises
    ------
    ExperimentRefused
        Both are given, or the ramp is malformed.

    >>> stages_of(mode="ab", allocation=None, ramp="5:24h,50")
    (Stage(share=0.05, duration=datetime.timedelta(days=1)), Stage(share=0.5, duration=None))
    """
    if allocation is not None and ramp:
        raise ExperimentRefused("an experiment has an allocation or a ramp, not both")
    if ramp:
        return tuple(_stage(part.strip(), ramp) for part in ramp.split(","))
    if allocation is None:
        return () if mode == "shadow" else (Stage(0.5),)
    return (Stage(allocation),)


def duration_of(name: str, text: str | None) -> timedelta | None:
    """Return a parameter's duration, written such as ``14d``; None for an empty one.

    Raises
    ------
    ExperimentRefused
        The text is no duration.

    >>> duration_of("max_duration", "90d")
    datetime.timedelta(days=90)
    """
    try:
        return parse_duration(text) if text else None  # type: ignore[return-value]
    except ValueError as error:
        raise ExperimentRefused(f"{name}: {text!r}: {error}") from None


def _stage(part: str, ramp: str) -> Stage:
    share, _, lasts = part.partition(":")
    try:
        return Stage(float(share) / 100, parse_duration(lasts) if lasts else None)  # type: ignore[arg-type]
    except ValueError as error:
        raise ExperimentRefused(
            f"ramp {ramp!r}: {part!r} is no percentage with a duration ({error}); a ramp is written 5:24h,20:24h,50"
        ) from None
