"""What a decision led to, and what a person, a probation or an experiment decided: events, which are told once."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from keel.alerts.findings.approval import subject_of
from keel.alerts.findings.reconciled import adopted_version, findings_of
from keel.alerts.records import Examined, Finding, Observation
from keel.config import Kind, Severity
from keel.evaluation.probation.verdict import ProbationVerdict
from keel.monitoring.records import (
    Action,
    DecisionRecord,
    ExperimentDecision,
    Outcome,
    ProbationDecision,
    PromotionRequest,
)
from keel.monitoring.storage import derived_id

if TYPE_CHECKING:
    from keel.config import ModelConfig

WATCH, REQUEST = "watch", "request"
"""Sources."""
REJECTED = ("kept_champion", "declined")
"""Outcomes after which the challenger is not in production."""
WINDOW_END = "window_end"
"""Key of evidence: the data's time of what is observed by the clock, as a retraining that a person asked for."""
SCHEDULE = "airflow"
"""The requester's name where no person made the request."""
TOLD = (ProbationVerdict.BASELINE_NOT_MET, ProbationVerdict.INCONCLUSIVE)
"""Verdicts on a probation that goes on, of which people are told."""


class Change(NamedTuple):
    """What a decision changed."""

    findings: tuple[Finding, ...] = ()
    version_changed: bool = False
    resolution: str = ""
    """Why alerts about the version before are over; empty where production stays."""


def observe_outcome(
    config: ModelConfig, decision: DecisionRecord, outcome: Outcome | None, *, now: datetime
) -> Observation:
    """Return what a decision without a check led to: a person's request, a probation, an experiment.

    An answer to a request for approval ends that request. The evaluations of a deployment have the data's time, as a
    check has; a person's request has the clock's.

    now: the clock's time.
    """
    change = change_of(decision, outcome)
    is_request = decision.action not in (Action.WATCH, Action.END_EXPERIMENT)
    adopted = adopted_version(decision)
    return Observation(
        observation_id=_identity(decision, outcome),
        model=config.model,
        source=REQUEST if is_request else WATCH,
        at=now if is_request else decision.window.end,
        findings=(*change.findings, *findings_of(decision, decision.decision_id)),
        examined=_answered(decision, outcome, change),
        resolution=change.resolution or (f"version {adopted} is in production" if adopted else ""),
        version_changed=change.version_changed or adopted is not None,
    )


def _answered(decision: DecisionRecord, outcome: Outcome | None, change: Change) -> tuple[Examined, ...]:
    """Return the question that an outcome answers."""
    if outcome is None or not isinstance(decision, PromotionRequest) or decision.challenger is None:
        return ()
    why = change.resolution or _sentence(outcome.sentence)
    return (Examined(kind=Kind.APPROVAL, subject=subject_of(decision.challenger), resolution=why),)


def requester(decision: DecisionRecord) -> str | None:
    """Return the person who asked for a decision; None where nobody did."""
    return None if decision.requested_by == SCHEDULE else decision.requested_by


def change_of(decision: DecisionRecord, outcome: Outcome | None) -> Change:
    """Return what a decision and its outcome changed, as events."""
    if outcome is None:
        return Change(_without_outcome(decision))
    found = _event_of(decision, outcome)
    findings = () if found is None else (found,)
    if decision.action is Action.END_EXPERIMENT and (found is None or found.kind is not Kind.EXPERIMENT):
        findings = (_of_experiment(decision), *findings)
    if outcome.outcome == "promoted":
        return Change(findings, version_changed=True, resolution=f"version {outcome.version} was promoted")
    if outcome.outcome == "rolled_back":
        to = f"production was rolled back to version {outcome.version}"
        return Change(findings, version_changed=True, resolution=to)
    return Change(findings)


def _event_of(decision: DecisionRecord, outcome: Outcome) -> Finding | None:
    """Return what an outcome is, as an event; None where another message tells of it."""
    kinds: dict[str, tuple[Kind, Severity]] = {
        "promoted": (Kind.PROMOTION, Severity.INFO),
        "declined": (Kind.PROMOTION, Severity.INFO),
        "kept_champion": (_KEPT.get(decision.action, Kind.RETRAINED), Severity.INFO),
        "rolled_back": (Kind.ROLLBACK, Severity.WARNING if requester(decision) else Severity.ERROR),
        "confirmed": (Kind.PROBATION, Severity.INFO),
        "probation_over": (Kind.PROBATION, Severity.WARNING),
        "experiment_ended": (Kind.EXPERIMENT, Severity.WARNING),
    }
    if outcome.outcome not in kinds:  # a staged version waits for an approval, which is asked for
        return None
    kind, severity = kinds[outcome.outcome]
    numbers = {
        "version": outcome.version,
        "champion": outcome.champion,
        "challenger": outcome.challenger,
        "rolled_back_version": outcome.rolled_back_version,
        "metric": outcome.metric,
        "improvement": outcome.improvement,
        "lower_bound": outcome.lower_bound,
        WINDOW_END: decision.window.end.isoformat(),
    }
    return Finding(
        kind=kind,
        subject=f"version {outcome.challenger if outcome.outcome in REJECTED else outcome.version}",
        severity=severity,
        sentence=_sentence(outcome.sentence),
        evidence={name: value for name, value in numbers.items() if value is not None},
    )


_KEPT = {Action.PROMOTE: Kind.PROMOTION, Action.END_EXPERIMENT: Kind.EXPERIMENT}
"""What it is that the champion was kept, where nothing was trained for it."""


def _without_outcome(decision: DecisionRecord) -> tuple[Finding, ...]:
    """Return what a decision says that no task followed."""
    if decision.action in (Action.START_EXPERIMENT, Action.STOP_EXPERIMENT, Action.END_EXPERIMENT):
        return (_of_experiment(decision),)
    if isinstance(decision, ProbationDecision) and decision.branch == "notify" and decision.verdict in TOLD:
        return (
            Finding(
                kind=Kind.PROBATION,
                subject=f"version {decision.version}",
                severity=Severity.WARNING,
                sentence=_sentence(decision.watched.sentence),
                evidence={"verdict": decision.verdict, "n": decision.watched.n},
            ),
        )
    return ()


def _of_experiment(decision: DecisionRecord) -> Finding:
    experiment = getattr(decision, "experiment_id", None) or ""
    verdict = decision.outcome if isinstance(decision, ExperimentDecision) else None
    return Finding(
        kind=Kind.EXPERIMENT,
        subject=experiment,
        severity=Severity.INFO,
        sentence=_sentence(decision.sentence),
        evidence={"verdict": verdict} if verdict else {},
    )


def _identity(decision: DecisionRecord, outcome: Outcome | None) -> str:
    """Return the id of what is observed: of a decision, or of what an hourly evaluation says again and again.

    Lost records are said once, in the same words as the next ones.
    """
    if isinstance(decision, ProbationDecision) and outcome is None and not decision.undelivered:
        report = decision.watched
        said = (decision.verdict, str(report.extended_until), *decision.findings)
        return derived_id("observation", "watch", decision.model, str(decision.version), *said)
    # A cleared run may ask again, and be declined by another person.
    said = (outcome.outcome, outcome.sentence) if outcome else ("", "")
    return derived_id("observation", decision.decision_id, *said)


def _sentence(text: str) -> str:
    return text.strip().removesuffix(".")
