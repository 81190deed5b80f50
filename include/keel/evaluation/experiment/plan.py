"""An experiment between two versions: what was fixed beforehand, and who is answered by which.

Everything that a verdict will depend on is in the `Plan`, which is made before the first row and never changed. The
arm of a row follows from the plan, the row's entity and its time alone, so every process of the service assigns alike,
and anybody can compute it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from keel.errors import ExperimentRefused
from keel.evaluation.experiment import plan_checks
from keel.evaluation.experiment.stages import Stage
from keel.stats.metrics.losses import Estimate
from keel.stats.sequential.bounded_losses import BoundedLoss, bounded_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

Mode = Literal["ab", "shadow"]
Arm = Literal["champion", "challenger"]
Method = Literal["confidence_sequence", "betting", "paired_blocks"]

__all__ = [
    "BURN_IN",
    "CHALLENGER",
    "CHAMPION",
    "EARLY_HARM_SHARE",
    "MIN_DURATION",
    "MAX_DURATION",
    "Arm",
    "Assignment",
    "Method",
    "Mode",
    "Plan",
    "Stage",
    "assign",
    "assign_many",
    "in_utc",
    "position",
    "share_at",
    "shares_at",
    "version_of",
]

CHAMPION: Arm = "champion"
CHALLENGER: Arm = "challenger"
SMALL_SHARE = 0.2
"""A smaller arm than this has too few rows for a normal approximation in the first thousands; the bets need none."""
BURN_IN = 1_000
"""Outcomes before which a confidence sequence, which is valid for many rows, decides nothing."""
MIN_DURATION = timedelta(days=7)
"""Each day of the week once: which version is better on the first days says little of the weeks after them."""
MAX_DURATION = timedelta(days=60)
"""A difference that does not show in so long is of no use to anybody, and labels that are not there by then may never
be."""
NO_END = timedelta(days=3_650)
"""Of a plan that was kept by a Keel whose experiments had none."""
EARLY_HARM_SHARE = 0.25
"""Share of the champion's mean loss by which a challenger is worse that is not borne for ``least``. Flights differ by a
tenth or so between versions for the first days, and the other way round afterwards."""
UNKNOWN_LOSS = 0.5
"""What a loss in [0, 1] is measured from where nothing is known of the champion's: the middle."""


class Assignment(NamedTuple):
    """Who answers a row."""

    arm: Arm
    probability: float
    """Of this arm, at the row's time: what is stored as the row's ``allocation``."""


@dataclass(frozen=True)
class Plan:
    """An experiment as it was started.

    Raises `ExperimentRefused`, which names what is wrong and what would be right, for a plan that cannot be carried
    out or could not end in a verdict.
    """

    experiment_id: str
    model: str
    champion: int
    challenger: int
    mode: Mode
    stages: tuple[Stage, ...]
    """The share never falls, so that an entity that the challenger has answered stays with it. None in shadow mode."""
    salt: str
    """Makes the assignment independent of that of any other experiment."""
    metric: str
    margin: float
    """Units of the metric, as `promotion.margin`: the improvement must be shown to exceed it."""
    alpha: float
    """Chance of each wrong verdict: to promote a version not better than the margin, to roll back one not worse."""
    max_n: int
    """Outcomes after which it ends without a difference shown, unless that is before ``least``."""
    started_at: datetime
    promised: Estimate | None = None
    """The champion's mean loss on its holdout (`baseline_loss`): a regression's errors are cut by it, and bets are
    made on what differs from it. It sets no level, only how soon a difference shows."""
    least: timedelta = MIN_DURATION
    """No verdict on the versions before their outcomes are of rows this long after the first of them, but for harm that
    is gross."""
    most: timedelta = MAX_DURATION
    """From the start: it ends then, with the outcomes that are known by then, however few."""
    label_delay: timedelta = timedelta(0)
    """After its time, when a row's label counts at the earliest: `target.label_delay` as it was at the start. With
    another one the outcomes would have another order, and what was shown before would be tried anew."""

    def __post_init__(self) -> None:
        if problem := next(self._problems(), None):
            raise ExperimentRefused(problem)

    def _problems(self) -> Iterator[str]:
        """Yield what keeps the plan from being carried out or from ending in a verdict."""
        names = {name: getattr(self, name) for name in ("experiment_id", "model", "salt")}
        yield from plan_checks.check_names(names, champion=self.champion, challenger=self.challenger)
        yield from plan_checks.check_mode(self.mode)
        yield from plan_checks.check_numbers(alpha=self.alpha, margin=self.margin, max_n=self.max_n)
        yield from plan_checks.check_times(
            started_at=self.started_at, least=self.least, most=self.most, stages=self.stages
        )
        yield from plan_checks.check_metric(
            self.metric, margin=self.margin, promised=self.promised, champion=self.champion
        )
        yield from plan_checks.check_stages(self.mode, self.stages)

    @property
    def method(self) -> Method:
        """How the outcomes will be judged; known before the first of them."""
        return self.method_with_reason[0]

    @property
    def method_with_reason(self) -> tuple[Method, str]:
        """How the outcomes will be judged, and why so, as a clause for people."""
        shares = {stage.share for stage in self.stages}
        if self.mode == "shadow":
            return "paired_blocks", "both versions score the same rows, and those of the same hours share their weather"
        if len(shares) > 1:
            return "betting", "the allocation changes, and bets allow for that"
        if min(min(share, 1 - share) for share in shares) < SMALL_SHARE:
            return "betting", f"an arm gets less than {SMALL_SHARE:.0%}, and bets need no large numbers"
        if self.max_n < BURN_IN:
            return "betting", f"it ends before {BURN_IN:,} outcomes, and bets need no large numbers"
        return "confidence_sequence", "the allocation is fixed, and both arms are large"

    @cached_property
    def loss(self) -> BoundedLoss:
        """How rows are turned into losses in [0, 1]."""
        found = bounded_loss(self.metric, self.promised)
        assert found is not None  # __post_init__ has seen to it
        return found

    @property
    def min_improvement(self) -> float:
        """The margin, as a difference of mean losses in [0, 1]."""
        return -self.loss.increase(-self.margin, self.promised)

    @property
    def harm_bound(self) -> float:
        """The least improvement that is no harm, a difference of mean losses in [0, 1]: 0, or the margin below it."""
        return min(0.0, self.min_improvement)

    @property
    def early_harm_bound(self) -> float:
        """The least improvement that is borne until ``least`` has passed, as a difference of mean losses in [0, 1].

        `EARLY_HARM_SHARE` of what was to be expected of the champion below `harm_bound`.
        """
        return self.harm_bound - EARLY_HARM_SHARE * self.centre

    @property
    def ends_at(self) -> datetime:
        """When it ends in any case."""
        return self.started_at + self.most

    @property
    def centre(self) -> float:
        """The loss in [0, 1] that was to be expected of a row."""
        return UNKNOWN_LOSS if self.promised is None else min(1.0, self.promised.value / self.loss.cap)

    @cached_property
    def _ends(self) -> tuple[tuple[datetime, float], ...]:
        """Each stage's end but the last's, with its share."""
        end, found = self.started_at, []
        for stage in self.stages[:-1]:
            assert stage.duration is not None
            end += stage.duration
            found.append((end, stage.share))
        return tuple(found)

    @cached_property
    def _salted(self) -> bytes:
        return f"{self.salt}|".encode()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, from which `from_dict` makes the same plan."""
        stages = [
            {"share": stage.share, "seconds": stage.duration and stage.duration.total_seconds()}
            for stage in self.stages
        ]
        promised = self.promised and asdict(self.promised)
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            **plain,
            "stages": stages,
            "promised": promised,
            "started_at": self.started_at.isoformat(),
            "least": self.least.total_seconds(),
            "most": self.most.total_seconds(),
            "label_delay": self.label_delay.total_seconds(),
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_dict` was called on."""
        stages = tuple(
            Stage(stage["share"], None if stage["seconds"] is None else timedelta(seconds=stage["seconds"]))
            for stage in kept["stages"]
        )
        promised = kept.get("promised")
        most = kept.get("most", NO_END.total_seconds())
        return cls(
            **{
                **kept,
                "stages": stages,
                "started_at": datetime.fromisoformat(kept["started_at"]),
                "promised": promised and Estimate(**promised),
                "least": timedelta(seconds=kept["least"]),
                "most": timedelta(seconds=most),
                "label_delay": timedelta(seconds=kept["label_delay"]),
            }
        )


def share_at(plan: Plan, time: datetime) -> float:
    """Return the challenger's share at a time; before the start that of the first stage, in shadow mode 0."""
    if not plan.stages:
        return 0.0
    for end, share in plan._ends:
        if time < end:
            return share
    return plan.stages[-1].share


def shares_at(plan: Plan, times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Return what `share_at` does for many times; datetime64 in UTC, shape (n,)."""
    ends = np.array([np.datetime64(in_utc(end), "us") for end, _ in plan._ends], dtype="datetime64[us]")
    shares = np.array([stage.share for stage in plan.stages] or [0.0])
    found: NDArray[np.float64] = shares[np.searchsorted(ends, times.astype("datetime64[us]"), side="right")]
    return found


def position(plan: Plan, entity: str) -> float:
    """Return where the salted hash puts an entity, in [0, 1): the challenger answers those below its share."""
    digest = hashlib.sha256(plan._salted + entity.encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) * 2.0**-53


def assign(plan: Plan, entity: str, time: datetime) -> Assignment:
    """Return who answers an entity at a time, and how probable that was.

    The same entity always gets the same arm while the share stays, and as it rises goes over to the challenger once.
    In shadow mode the champion answers everybody.
    """
    share = share_at(plan, time)
    if position(plan, entity) < share:
        return Assignment(CHALLENGER, share)
    return Assignment(CHAMPION, 1.0 - share)


def assign_many(
    plan: Plan, entities: Sequence[str], times: NDArray[np.datetime64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return for many rows what `assign` does: whether the challenger answers, and the probability of the row's arm.

    times: datetime64 in UTC, shape (n,), as many as entities.
    """
    share = shares_at(plan, times)
    sha256, salted, number = hashlib.sha256, plan._salted, int.from_bytes
    first = [number(sha256(salted + entity.encode()).digest()[:8]) for entity in entities]
    places = (np.array(first, dtype=np.uint64) >> np.uint64(11)) * 2.0**-53
    chosen: NDArray[np.bool_] = places < share
    return chosen, np.where(chosen, share, 1.0 - share)


def version_of(plan: Plan, arm: Arm) -> int:
    """Return the version that answers in an arm."""
    return plan.challenger if arm == CHALLENGER else plan.champion


def in_utc(time: datetime) -> datetime:
    """Return an aware time as numpy takes it: in UTC, without its zone."""
    return time.astimezone(UTC).replace(tzinfo=None)
