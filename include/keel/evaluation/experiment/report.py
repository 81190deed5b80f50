"""The report of an experiment's evaluation: the verdict, its evidence, and a sentence about both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from keel.config.loading import shown_duration
from keel.evaluation.experiment.evidence import MISMATCH_EVIDENCE
from keel.stats.json_numbers import finite_or_none

if TYPE_CHECKING:
    from keel.evaluation.experiment.plan import Plan


HARM = "harm"
"""Cause of an early rollback: the challenger does more harm than is tolerated before the minimum duration."""
TIME = "time"
"""Cause of an end without a difference: the maximum duration is over."""
RENAMED = {
    "mature_until": "matured_until",
    "expected": "expected_challenger",
    "bearable": "early_harm_bound",
    "due": "matured",
    "left_out": "unusable",
}
"""Keys of reports that 0.1.0 stored."""


class ExperimentVerdict(StrEnum):
    """The verdicts of an experiment; the values are stored."""

    RUNNING = "running"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    NO_DIFFERENCE = "no_difference"
    MISMATCH = "mismatch"
    """Sample ratio mismatch: the arms differ in more than their versions, so the comparison is not valid."""


@dataclass(frozen=True)
class ArmReport:
    """The numbers of one arm; in shadow mode of one version, on the rows that both have scored."""

    version: int
    n: int
    """Outcomes that were evaluated."""
    unusable: int
    """Labelled rows without usable outputs; in shadow mode those without usable outputs of either version."""
    mean_loss: float
    """In units of the metric's loss; NaN without rows."""
    assigned: int
    """Rows, labelled or not."""
    matured: int
    """Of those, rows old enough for their label to be matured."""
    labelled: int
    """Of those, rows with a usable label that had arrived by then."""

    @property
    def coverage(self) -> float:
        """Share of the matured rows that have their label; NaN without matured rows."""
        return self.labelled / self.matured if self.matured else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, NaN as None."""
        return {name: finite_or_none(value) for name, value in {**self.__dict__, "coverage": self.coverage}.items()}


@dataclass(frozen=True)
class ExperimentEvaluation:
    """The evaluation of an experiment. Losses, improvement and bounds are in units of the metric's loss (`loss`)."""

    plan: Plan
    verdict: ExperimentVerdict
    cause: str | None
    """Of a mismatch: ``assignment``, ``labels`` or ``outputs``. Of another end: `HARM`, `TIME` or None."""
    decided_at: datetime | None
    """The time of the verdict, in the data's time; None while the experiment runs."""
    matured_until: datetime
    """Rows up to this time count, in both arms."""
    champion: ArmReport
    challenger: ArmReport
    n: int
    """Evaluated outcomes, of at most ``plan.max_outcomes``; in shadow mode each is of both versions."""
    improvement: float
    """The champion's mean loss less the challenger's; positive is better."""
    lower_bound: float
    """Each bound holds at 1 − alpha at any time; infinite while there is none."""
    upper_bound: float
    unit: str
    """The clusters between which the difference must hold: days, or shorter ones while there are few days."""
    clusters: int
    evidence_better: float | None
    """Wealth of the bets that the improvement exceeds the margin, at least 1; None for a method without bets."""
    evidence_worse: float | None
    assignment_evidence: float
    """Highest evidence so far that the arms are not split as planned, at least 1."""
    label_evidence: float
    """Highest evidence so far that one arm gets fewer labels, at least 1."""
    expected_challenger: float
    """Expected number of rows of the challenger, by the shares at their assignment."""

    @property
    def loss(self) -> str:
        """Name of the loss whose means are compared."""
        return self.plan.loss.name

    @property
    def method(self) -> str:
        """The statistical method that the plan fixes."""
        return self.plan.method

    @property
    def sentence(self) -> str:
        """The result in plain sentences."""
        challenger = f"version {self.plan.challenger}"
        match self.verdict:
            case ExperimentVerdict.PROMOTE:
                return f"{self._versions()}: {challenger} is better. {self._numbers()}"
            case ExperimentVerdict.ROLL_BACK:
                return f"{self._versions()}: {challenger} is {self._worse()}. {self._numbers()}"
            case ExperimentVerdict.NO_DIFFERENCE if self.n:
                until = f"in the maximum duration of {self._duration}" if self.cause == TIME else "on all outcomes"
                return f"{self._versions()}: no difference is shown {until}. {self._numbers()}"
            case ExperimentVerdict.NO_DIFFERENCE:
                return f"{self._versions()}: no result in the maximum duration of {self._duration}: {self._missing()}."
            case ExperimentVerdict.MISMATCH:
                return f"{self._versions()}: the comparison is not valid, as {self._fault()}."
        first = self.plan.started_at + self.plan.min_duration
        wait = f"; the first verdict needs rows of {first:%Y-%m-%d %H:%M}" if self.matured_until < first else ""
        return f"{self._versions()}: no result yet{wait}. {self._numbers()}"

    def _versions(self) -> str:
        relation = "as a shadow of" if self.plan.mode == "shadow" else "against"
        return f"Version {self.plan.challenger} {relation} version {self.plan.champion}"

    @property
    def _duration(self) -> str:
        return shown_duration(self.plan.max_duration)

    def _worse(self) -> str:
        """Return how much worse the challenger is, and why it is stopped early."""
        if self.cause != HARM:
            return "worse"
        harm = -self.plan.early_harm_bound * self.plan.loss.cap
        return f"worse by more than {harm:.4f}, the limit during the first {shown_duration(self.plan.min_duration)}"

    def _missing(self) -> str:
        """Return why there is no outcome, and what to check."""
        rows, matured = (
            sum(getattr(arm, name) for arm in (self.champion, self.challenger)) for name in ("assigned", "matured")
        )
        labels = "check that labels are submitted, with the predictions' ids or with entities and times"
        if self.plan.mode == "shadow":
            return f"no usable label arrived; {labels}, and that the service runs both versions (/version)"
        if not rows:
            return "no request was answered; check that the service gets requests, and its versions (/version)"
        return f"none of {rows:,} answered rows, {matured:,} of them matured, has a usable label; {labels}"

    def _numbers(self) -> str:
        new, old = self.challenger, self.champion
        limit = f" of at most {self.plan.max_outcomes:,}" if self.verdict is ExperimentVerdict.RUNNING else ""
        if not min(new.n, old.n):
            return f"There are {self.n:,} outcomes{limit}, but not of both versions."
        losses = f"its mean {self.loss} is {new.mean_loss:.4f}, that of version {old.version} {old.mean_loss:.4f}"
        n = f"{new.n:,} and {old.n:,}" if self.plan.mode == "ab" else f"{self.n:,}"
        return f"On {n} outcomes{limit}, {losses}. {self._improvement()}."

    def _improvement(self) -> str:
        weighted = ", with rows weighted by their allocation," if len(self.plan.stages) > 1 else ""
        improvement = f"The improvement{weighted} is {self.improvement:.5f}"
        if not (math.isfinite(self.lower_bound) and math.isfinite(self.upper_bound)):
            return f"{improvement}; there are too few outcomes, hours or days for its bounds"
        required = f"; more than {self._margin:.4f} is required" if self._margin else ""
        bounds = f"between {self.lower_bound:.5f} and {self.upper_bound:.5f}"
        return f"{improvement}, {bounds} (α = {self.plan.alpha:g}){required}"

    @property
    def _margin(self) -> float:
        return self.plan.min_improvement * self.plan.loss.cap

    def _fault(self) -> str:
        new, old = self.challenger, self.champion
        total = new.assigned + old.assigned
        match self.cause:
            case "assignment":
                return (
                    f"the rows are not split as planned: the challenger answered {new.assigned:,} of {total:,} rows, "
                    f"not about {self.expected_challenger:,.0f}; the evidence is {self.assignment_evidence:,.0f} to 1"
                )
            case "labels":
                return (
                    f"the arms get labels at different rates: {new.coverage:.1%} of the challenger's matured rows have "
                    f"one, {old.coverage:.1%} of the champion's; the evidence is {self.label_evidence:,.0f} to 1"
                )
        return (
            f"{new.unusable:,} of {new.unusable + new.n:,} labelled rows of version {new.version} and "
            f"{old.unusable:,} of {old.unusable + old.n:,} of version {old.version} have no usable output"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, NaN as None."""
        plan, (method, reason) = self.plan, self.plan.method_with_reason
        plain = {name: finite_or_none(value) for name, value in self.__dict__.items()}
        return {
            **plain,
            "plan": plan.to_dict(),
            "verdict": str(self.verdict),
            "decided_at": self.decided_at and self.decided_at.isoformat(),
            "matured_until": self.matured_until.isoformat(),
            "champion": self.champion.to_dict(),
            "challenger": self.challenger.to_dict(),
            "loss": self.loss,
            "margin": self._margin,
            "method": method,
            "method_reason": reason,
            "threshold": 1 / plan.alpha,
            "ends_at": plan.ends_at.isoformat(),
            "early_harm_bound": plan.early_harm_bound * plan.loss.cap,
            "mismatch_threshold": MISMATCH_EVIDENCE,
            "sentence": self.sentence,
        }


def with_current_names(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored report with the keys of this release, also if 0.1.0 stored it.

    >>> with_current_names({"n": 2, "champion": {"due": 1}})
    {'n': 2, 'champion': {'matured': 1}}
    """
    return {
        RENAMED.get(name, name): with_current_names(value) if name in ("champion", "challenger") else value
        for name, value in stored.items()
    }
