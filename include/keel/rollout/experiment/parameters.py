"""What people ask of an experiment, and how they write it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypedDict

from keel.config.loading import parse_duration
from keel.errors import ExperimentRefused
from keel.evaluation.experiment.plan import Stage

if TYPE_CHECKING:
    from keel.evaluation.experiment.plan import Mode

MAX_N = 100_000
"""Outcomes after which an experiment ends by itself, where nobody says: a difference that does not show in so many is
of no use to anybody."""


class ExperimentParameters(TypedDict, total=False):
    """What an experiment is started with. What is left out, or None, is as the gate asks, or usual.

    An experiment may ask for more than the gate, not for less.
    """

    challenger: int | None
    """The version to try; the staged one."""
    mode: Mode
    stages: Sequence[Stage]
    """None in shadow mode."""
    metric: str | None
    """`performance.metric`."""
    margin: float | None
    """`promotion.margin`."""
    alpha: float | None
    """`promotion.alpha`."""
    max_n: int
    """Outcomes after which it ends without a difference shown; `MAX_N`."""
    least: timedelta | None
    """How long it lasts before a verdict; `keel.evaluation.experiment.plan.MIN_DURATION`."""
    most: timedelta | None
    """After how long it ends in any case; `keel.evaluation.experiment.plan.MAX_DURATION`, and the label delay more."""
    salt: str | None
    """One of its own."""


def stages_of(*, mode: str, allocation: float | None, ramp: str | None) -> tuple[Stage, ...]:
    """Return the stages that people ask for: one share in (0, 1), or a ramp of percentages with their durations.

    A shadow has none, an A/B test half and half where nobody says.

    Raises
    ------
    ExperimentRefused
        Both are given, or a ramp is not written so.

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


def duration_of(name: str, asked: str | None) -> timedelta | None:
    """Return what a duration such as ``14d`` says, by its parameter's name; None where nobody says.

    Raises
    ------
    ExperimentRefused
        That is no duration.

    >>> duration_of("most", "90d")
    datetime.timedelta(days=90)
    """
    try:
        return parse_duration(asked) if asked else None  # type: ignore[return-value]
    except ValueError as error:
        raise ExperimentRefused(f"{name}: {asked!r}: {error}") from None


def _stage(part: str, ramp: str) -> Stage:
    share, _, lasts = part.partition(":")
    try:
        return Stage(float(share) / 100, parse_duration(lasts) if lasts else None)  # type: ignore[arg-type]
    except ValueError as error:
        raise ExperimentRefused(
            f"ramp {ramp!r}: {part!r} is no percentage with a duration ({error}); a ramp is written 5:24h,20:24h,50"
        ) from None
