"""The plan of an experiment between two versions, and the assignment of entities to its arms.

The `Plan` holds everything that a verdict depends on. It is made before the first row and never changes. The arm of a
row follows from the plan, the row's entity and its time alone. So every process of the service assigns alike, and an
assignment can be recomputed.
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
"""Share below which an arm has too few rows for a normal approximation in the first thousands of rows."""
BURN_IN = 1_000
"""Outcomes before which a confidence sequence decides nothing: it is valid asymptotically."""
MIN_DURATION = timedelta(days=7)
"""Default of `Plan.min_duration`: each day of the week once. The better version of the first days may be worse
afterwards."""
MAX_DURATION = timedelta(days=60)
"""Default of `Plan.max_duration`: a difference that takes longer to show is too small to matter, and labels that are
missing by then may never arrive."""
NO_END = timedelta(days=3_650)
"""Maximum duration of a plan that was stored before plans had one."""
EARLY_HARM_SHARE = 0.25
"""Share of the champion's mean loss: a challenger that is worse by more is stopped before ``min_duration``. Equal
versions of flight_delay differ by a tenth or so for the first days, in either direction."""
STORED_AS = {"max_outcomes": "max_n", "min_duration": "least", "max_duration": "most", "baseline": "promised"}
"""Keys of stored plans that differ from the fields' names. The ledger's rows cannot change, and a scoring service of
0.1.0 reads plans under these keys."""
UNKNOWN_LOSS = 0.5
"""The expected loss in [0, 1] where the champion's is not known: the middle."""


class Assignment(NamedTuple):
    """The arm of a row, and its probability."""

    arm: Arm
    probability: float
    """Of this arm, at the row's time; stored as the row's ``allocation``."""


@dataclass(frozen=True)
class Plan:
    """The plan of an experiment, fixed before its first row.

    Raises `ExperimentRefused` for a plan that cannot be carried out or cannot end in a verdict. The message names the
    wrong value and a valid one.
    """

    experiment_id: str
    model: str
    champion: int
    challenger: int
    mode: Mode
    stages: tuple[Stage, ...]
    """The share never falls, so that an entity that the challenger has answered stays with it. Empty in shadow mode."""
    salt: str
    """Makes the assignment independent of that of other experiments."""
    metric: str
    margin: float
    """In units of the metric, as `promotion.margin`; the improvement must be shown to exceed it."""
    alpha: float
    """Bound of each error rate: of promoting a version not better than the margin, of rolling back one not worse."""
    max_outcomes: int
    """Number of outcomes after which it ends without a difference, unless that is before ``min_duration``."""
    started_at: datetime
    baseline: Estimate | None = None
    """The champion's mean loss on its holdout (`baseline_loss`). It gives the cap of a regression's errors and the
    centre of the bets. It affects how soon a difference shows, but no error rate."""
    min_duration: timedelta = MIN_DURATION
    """Time that the rows must span before a verdict; only a clearly harmful challenger is stopped earlier."""
    max_duration: timedelta = MAX_DURATION
    """Time from the start after which it ends, with the outcomes known by then."""
    label_delay: timedelta = timedelta(0)
    """Time after which a row's label is matured: `target.label_delay` at the start of the experiment. It is fixed
    because it determines the order of the outcomes."""

    def __post_init__(self) -> None:
        if problem := next(self._problems(), None):
            raise ExperimentRefused(problem)

    def _problems(self) -> Iterator[str]:
        """Yield what keeps the plan from being carried out or from ending in a verdict."""
        names = {name: getattr(self, name) for name in ("experiment_id", "model", "salt")}
        yield from plan_checks.check_names(names, champion=self.champion, challenger=self.challenger)
        yield from plan_checks.check_mode(self.mode)
        yield from plan_checks.check_numbers(alpha=self.alpha, margin=self.margin, max_outcomes=self.max_outcomes)
        yield from plan_checks.check_times(
            started_at=self.started_at,
            min_duration=self.min_duration,
            max_duration=self.max_duration,
            stages=self.stages,
        )
        yield from plan_checks.check_metric(
            self.metric, margin=self.margin, baseline=self.baseline, champion=self.champion
        )
        yield from plan_checks.check_stages(self.mode, self.stages)

    @property
    def method(self) -> Method:
        """The statistical method; it follows from the plan, so it is known before the first outcome."""
        return self.method_with_reason[0]

    @property
    def method_with_reason(self) -> tuple[Method, str]:
        """The statistical method, and the reason for it as a clause."""
        shares = {stage.share for stage in self.stages}
        if self.mode == "shadow":
            return "paired_blocks", "both versions score the same rows, and rows of the same hours are correlated"
        if len(shares) > 1:
            return "betting", "the allocation changes, which the confidence sequence does not allow"
        if min(min(share, 1 - share) for share in shares) < SMALL_SHARE:
            return "betting", f"an arm gets less than {SMALL_SHARE:.0%}, and betting needs no large samples"
        if self.max_outcomes < BURN_IN:
            return "betting", f"it ends before {BURN_IN:,} outcomes, and betting needs no large samples"
        return "confidence_sequence", "the allocation is fixed, and both arms are large"

    @cached_property
    def loss(self) -> BoundedLoss:
        """The transformation of rows into losses in [0, 1]."""
        loss = bounded_loss(self.metric, self.baseline)
        assert loss is not None  # __post_init__ checks it
        return loss

    @property
    def min_improvement(self) -> float:
        """The margin, as a difference of mean losses in [0, 1]."""
        return -self.loss.increase(-self.margin, self.baseline)

    @property
    def harm_bound(self) -> float:
        """The smallest improvement that is no harm, a difference of mean losses in [0, 1]: 0, or a negative margin."""
        return min(0.0, self.min_improvement)

    @property
    def early_harm_bound(self) -> float:
        """The smallest improvement that is tolerated before ``min_duration``, a difference of mean losses in [0, 1].

        It lies below `harm_bound` by `EARLY_HARM_SHARE` of the champion's expected loss.
        """
        return self.harm_bound - EARLY_HARM_SHARE * self.centre

    @property
    def ends_at(self) -> datetime:
        """The time at which it ends at the latest."""
        return self.started_at + self.max_duration

    @property
    def centre(self) -> float:
        """The expected loss of a row, in [0, 1]."""
        return UNKNOWN_LOSS if self.baseline is None else min(1.0, self.baseline.value / self.loss.cap)

    @cached_property
    def stage_ends(self) -> tuple[tuple[datetime, float], ...]:
        """The end and share of each stage but the last."""
        end, ends = self.started_at, []
        for stage in self.stages[:-1]:
            assert stage.duration is not None
            end += stage.duration
            ends.append((end, stage.share))
        return tuple(ends)

    @cached_property
    def _salted(self) -> bytes:
        return f"{self.salt}|".encode()

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as the ledger stores it: JSON-able values, under the keys of `STORED_AS`."""
        stages = [
            {"share": stage.share, "seconds": stage.duration and stage.duration.total_seconds()}
            for stage in self.stages
        ]
        plain = {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "stages": stages,
            "baseline": self.baseline and asdict(self.baseline),
            "started_at": self.started_at.isoformat(),
            **{name: getattr(self, name).total_seconds() for name in ("min_duration", "max_duration", "label_delay")},
        }
        return {STORED_AS.get(name, name): value for name, value in plain.items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_dict` stored, in this release or in 0.1.0; keys may be the fields' names too."""
        names = {key: name for name, key in STORED_AS.items()}
        plain = {names.get(key, key): value for key, value in stored.items()}
        stages = tuple(
            Stage(stage["share"], None if stage["seconds"] is None else timedelta(seconds=stage["seconds"]))
            for stage in plain["stages"]
        )
        baseline = plain.get("baseline")
        seconds = {name: plain[name] for name in ("min_duration", "label_delay")}
        seconds["max_duration"] = plain.get("max_duration", NO_END.total_seconds())
        return cls(
            **{
                **plain,
                "stages": stages,
                "started_at": datetime.fromisoformat(plain["started_at"]),
                "baseline": baseline and Estimate(**baseline),
                **{name: timedelta(seconds=value) for name, value in seconds.items()},
            }
        )


def share_at(plan: Plan, time: datetime) -> float:
    """Return the challenger's share at a time: before the start that of the first stage, in shadow mode 0."""
    if not plan.stages:
        return 0.0
    for end, share in plan.stage_ends:
        if time < end:
            return share
    return plan.stages[-1].share


def shares_at(plan: Plan, times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Return `share_at` for many times; datetime64 in UTC, shape (n,)."""
    ends = np.array([np.datetime64(in_utc(end), "us") for end, _ in plan.stage_ends], dtype="datetime64[us]")
    shares = np.array([stage.share for stage in plan.stages] or [0.0])
    found: NDArray[np.float64] = shares[np.searchsorted(ends, times.astype("datetime64[us]"), side="right")]
    return found


def position(plan: Plan, entity: str) -> float:
    """Return an entity's position in [0, 1) by its salted hash: the challenger answers entities below its share."""
    digest = hashlib.sha256(plan._salted + entity.encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) * 2.0**-53


def assign(plan: Plan, entity: str, time: datetime) -> Assignment:
    """Return the arm of an entity at a time, and its probability.

    An entity keeps its arm while the share is constant. As the share rises, it moves to the challenger at most once. In
    shadow mode the champion answers every entity.
    """
    share = share_at(plan, time)
    if position(plan, entity) < share:
        return Assignment(CHALLENGER, share)
    return Assignment(CHAMPION, 1.0 - share)


def assign_many(
    plan: Plan, entities: Sequence[str], times: NDArray[np.datetime64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return for many rows whether the challenger answers, and the probability of the row's arm (see `assign`).

    times: datetime64 in UTC, shape (n,), as many as entities.
    """
    share = shares_at(plan, times)
    sha256, salted, number = hashlib.sha256, plan._salted, int.from_bytes
    first = [number(sha256(salted + entity.encode()).digest()[:8]) for entity in entities]
    positions = (np.array(first, dtype=np.uint64) >> np.uint64(11)) * 2.0**-53
    chosen: NDArray[np.bool_] = positions < share
    return chosen, np.where(chosen, share, 1.0 - share)


def version_of(plan: Plan, arm: Arm) -> int:
    """Return the version of an arm."""
    return plan.challenger if arm == CHALLENGER else plan.champion


def in_utc(time: datetime) -> datetime:
    """Return an aware time for numpy: in UTC, without its zone."""
    return time.astimezone(UTC).replace(tzinfo=None)
