"""What a look at an experiment reports: the verdict, what it rests on, and a sentence that says both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from keel.config.loading import shown_duration
from keel.evaluation.experiment.evidence import MISMATCH
from keel.stats.json_numbers import finite_or_none

if TYPE_CHECKING:
    from keel.evaluation.experiment.plan import Plan


HARM = "harm"
"""Why a challenger is rolled back before the least time has passed: it does more harm than is borne meanwhile."""
TIME = "time"
"""Why there is no difference: the time is over that was planned."""


class ExperimentVerdict(StrEnum):
    """What an experiment has shown."""

    RUNNING = "running"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    NO_DIFFERENCE = "no_difference"
    MISMATCH = "mismatch"
    """Something else than the versions differs between the arms: nothing can be said of the versions."""


@dataclass(frozen=True)
class ArmReport:
    """What is known of one arm; in shadow mode of one version, on the rows that both have scored."""

    version: int
    n: int
    """Outcomes that were judged."""
    left_out: int
    """Labelled rows without usable outputs; in shadow mode those on which either version has none."""
    mean_loss: float
    """Units of the metric's loss; NaN without rows."""
    assigned: int
    """Rows, labelled or not."""
    due: int
    """Of those, rows old enough for their label to be due."""
    labelled: int
    """Of those, rows whose label had come by then, and can be used."""

    @property
    def coverage(self) -> float:
        """Share of the rows due that have their label; NaN where none is due."""
        return self.labelled / self.due if self.due else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, NaN as None."""
        return {name: finite_or_none(value) for name, value in {**self.__dict__, "coverage": self.coverage}.items()}


@dataclass(frozen=True)
class ExperimentEvaluation:
    """A look at an experiment. Losses, the improvement and its bounds: units of the metric's loss (`loss`)."""

    plan: Plan
    verdict: ExperimentVerdict
    cause: str | None
    """Of a mismatch: ``assignment``, ``labels`` or ``outputs``; else `HARM` or `TIME`, where that has ended it."""
    decided_at: datetime | None
    """When it was decided, in the data's time; none while it runs."""
    mature_until: datetime
    """Rows up to this time count, in both arms."""
    champion: ArmReport
    challenger: ArmReport
    n: int
    """Outcomes that were judged, of ``plan.max_n``; in shadow mode each is of both versions."""
    improvement: float
    """By how much lower the challenger's mean loss is."""
    lower_bound: float
    """Each bound holds at 1 − alpha, at whatever moment one looks; infinite where there is none yet."""
    upper_bound: float
    unit: str
    """Between what the difference must hold: days, or shorter clusters while there are few of those."""
    clusters: int
    evidence_better: float | None
    """Capital of the bets that the challenger is better by more than the margin, from 1; none without bets."""
    evidence_worse: float | None
    assignment_evidence: float
    """That arms are not drawn as stated, from 1; the highest so far."""
    label_evidence: float
    """That one arm gets its labels more seldom."""
    expected: float
    """Rows that the challenger was to answer, as they were assigned."""

    @property
    def loss(self) -> str:
        """What the mean losses are means of."""
        return self.plan.loss.name

    @property
    def method(self) -> str:
        """How the outcomes are judged, as the plan fixed it."""
        return self.plan.method

    @property
    def sentence(self) -> str:
        """What the look has shown, for people."""
        match self.verdict:
            case ExperimentVerdict.PROMOTE:
                return f"{self._versions()}: version {self.plan.challenger} is better. {self._seen()}"
            case ExperimentVerdict.ROLL_BACK:
                return f"{self._versions()}: version {self.plan.challenger} is {self._how_bad()}. {self._seen()}"
            case ExperimentVerdict.NO_DIFFERENCE if self.n:
                planned = f"in the {self._lasts} that were" if self.cause == TIME else "on all outcomes that were"
                return f"{self._versions()}: no difference is shown {planned} planned. {self._seen()}"
            case ExperimentVerdict.NO_DIFFERENCE:
                return (
                    f"{self._versions()}: nothing is shown in the {self._lasts} that were planned: {self._missing()}."
                )
            case ExperimentVerdict.MISMATCH:
                return f"{self._versions()}: nothing can be said of the versions, as {self._fault()}."
        soonest = self.plan.started_at + self.plan.least
        wait = f", nor will be before rows of {soonest:%Y-%m-%d %H:%M}" if self.mature_until < soonest else ""
        return f"{self._versions()}: nothing is shown yet{wait}. {self._seen()}"

    def _versions(self) -> str:
        how = " in the shadow of" if self.plan.mode == "shadow" else " against"
        return f"Version {self.plan.challenger}{how} version {self.plan.champion}"

    @property
    def _lasts(self) -> str:
        return shown_duration(self.plan.most)

    def _how_bad(self) -> str:
        """Say that the challenger is worse, and why it is told so soon."""
        if self.cause != HARM:
            return "worse"
        harm = -self.plan.early_harm_bound * self.plan.loss.cap
        return f"worse by more than {harm:.4f}, which is not borne until {shown_duration(self.plan.least)} have passed"

    def _missing(self) -> str:
        """Say why there is no outcome, and where to look."""
        rows, due = (
            sum(getattr(arm, name) for arm in (self.champion, self.challenger)) for name in ("assigned", "due")
        )
        labels = "look whether labels are handed in, with the ids of the answers or their entities and times"
        if self.plan.mode == "shadow":
            return f"no label came that can be used; {labels}, and whether the service asks both versions (/version)"
        if not rows:
            return "no row was answered in it; look whether the service is asked, and what it serves (/version)"
        return (
            f"of {rows:,} rows that were answered, {due:,} long enough ago, none has a label that can be used; {labels}"
        )

    def _seen(self) -> str:
        new, before = self.challenger, self.champion
        of = f" of at most {self.plan.max_n:,}" if self.verdict is ExperimentVerdict.RUNNING else ""
        if not min(new.n, before.n):
            return f"There are {self.n:,} outcomes{of}, and not yet of both versions."
        losses = (
            f"its mean {self.loss} is {new.mean_loss:.4f} and that of version {before.version} {before.mean_loss:.4f}"
        )
        if self.plan.mode == "ab":
            return f"On {new.n:,} and {before.n:,} outcomes{of}, {losses}; {self._improvement()}."
        return f"On {self.n:,} outcomes{of}, {losses}; {self._improvement()}."

    def _improvement(self) -> str:
        weighted = ", of rows weighted by their allocation," if len(self.plan.stages) > 1 else ""
        said = f"the improvement{weighted} is {self.improvement:.5f}"
        if not (math.isfinite(self.lower_bound) and math.isfinite(self.upper_bound)):
            return f"{said}, on too few outcomes, or too few hours and days of them, to say more"
        asked = f", and more than {self._margin:.4f} is asked" if self._margin else ""
        return f"{said}, from {self.lower_bound:.5f} to {self.upper_bound:.5f} (α = {self.plan.alpha:g}){asked}"

    @property
    def _margin(self) -> float:
        return self.plan.min_improvement * self.plan.loss.cap

    def _fault(self) -> str:
        new, before = self.challenger, self.champion
        total = new.assigned + before.assigned
        match self.cause:
            case "assignment":
                return (
                    f"the rows are not split as planned: the challenger answered {new.assigned:,} of {total:,}, and "
                    f"{self.expected:,.0f} were to be expected; the evidence is {self.assignment_evidence:,.0f} to 1"
                )
            case "labels":
                return (
                    f"labels came for {new.coverage:.1%} of the challenger's rows and {before.coverage:.1%} of the "
                    f"champion's; the evidence that this is no chance is {self.label_evidence:,.0f} to 1"
                )
        return (
            f"{new.left_out:,} of {new.left_out + new.n:,} labelled rows of version {new.version} and "
            f"{before.left_out:,} of {before.left_out + before.n:,} of version {before.version} have no usable output"
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
            "mature_until": self.mature_until.isoformat(),
            "champion": self.champion.to_dict(),
            "challenger": self.challenger.to_dict(),
            "loss": self.loss,
            "margin": self._margin,
            "method": method,
            "method_reason": reason,
            "threshold": 1 / plan.alpha,
            "ends_at": plan.ends_at.isoformat(),
            "early_harm_bound": plan.early_harm_bound * plan.loss.cap,
            "mismatch_threshold": MISMATCH,
            "sentence": self.sentence,
        }
