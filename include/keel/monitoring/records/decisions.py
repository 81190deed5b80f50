"""Records of decisions: what a check, a person or an evaluation of a version led to."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from keel.monitoring.records.base import JsonObject, Record, Span, Time, WindowField, renamed
from keel.monitoring.records.checks import StoredProbationReport

Branch = Annotated[str, renamed({"offer": "stage", "tell": "notify", "nothing": "no_action"})]


class Action(StrEnum):
    """What a decision leads to. The first four are the branches of a check, and the ids of their tasks."""

    ALL_CLEAR = "all_clear"
    RAISE_ALERT = "raise_alert"
    RETRAIN = "retrain"
    QUARANTINE = "quarantine"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    WATCH = "watch"
    """The hourly evaluation of a version on probation."""
    START_EXPERIMENT = "start_experiment"
    STOP_EXPERIMENT = "stop_experiment"
    END_EXPERIMENT = "end_experiment"


class DecisionRecord(Record):
    """A decision on a window, with the sentence that explains it.

    `from_dict` returns the subclass that the action asks for.
    """

    decision_id: str = ""
    """Empty where there was nothing to do, so that no decision was stored."""
    model: str
    version: int | None
    """In production when the decision was made."""
    window: WindowField
    action: Action
    sentence: str
    about: tuple[str, ...] = ()
    """The causes, without numbers."""
    reason: str | None = None
    requested_by: str | None = None
    """The person who requested it; None where Keel decided."""
    findings: tuple[str, ...] = ()
    """What else the message has to report, such as an alias that was changed outside Keel."""
    undelivered: tuple[str, ...] = ()
    """Those of the findings that are about predictions which could not be stored."""
    out_of_band: tuple[JsonObject, ...] = ()
    """Of the others, what differs from the ledger (`keel.deployments.alias_sync.Finding`)."""
    alarms: tuple[str, ...] = ()
    """Ids of the live alarms that the decision judges. They are closed when its outcome is recorded."""
    open_alarms: tuple[str, ...] = ()
    """Ids of the live alarms that it leaves open, because another check at once could not judge them either."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the record that `to_dict` described, of the class that its action asks for."""
        kind = _KINDS.get(str(values.get("action")), cls)
        if issubclass(kind, cls) and kind is not cls:
            return kind.from_dict(values)
        if values.get("decision_id", "") is None:
            values = {**values, "decision_id": ""}
        return super().from_dict(values)


class PromotionRequest(DecisionRecord):
    """A person's or an experiment's request to put a version into production."""

    action: Literal[Action.PROMOTE] = Action.PROMOTE
    challenger: int
    champion: int | None
    holdout: Span
    """The span of the holdout that the two versions are compared on."""
    until: Time
    """Until when the request looks at data."""
    forced_by: str | None = None
    """The person who wants the promotion whatever the comparison shows."""
    mlflow_run_id: str | None = None
    experiment: str | None = None
    """The experiment that the promotion rests on instead of a holdout."""


class RollbackRequest(DecisionRecord):
    """A person's request to roll production back."""

    action: Literal[Action.ROLLBACK] = Action.ROLLBACK
    target: int | None = None
    """The version to roll back to; None for the previous one."""


class ProbationDecision(DecisionRecord):
    """What the evaluation of a version on probation leads to."""

    action: Literal[Action.WATCH] = Action.WATCH
    verdict: str
    branch: Branch
    """The task that follows."""
    report_id: str | None = None
    target: int | None = None
    """The version before it, which it was compared with and is rolled back to."""
    watched: StoredProbationReport
    """The report behind the decision."""


class ExperimentRequest(DecisionRecord):
    """A person's request to start or stop an experiment."""

    action: Literal[Action.START_EXPERIMENT, Action.STOP_EXPERIMENT]
    experiment_id: str
    plan: JsonObject | None = None


class ExperimentDecision(DecisionRecord):
    """What the evaluation of a running experiment leads to."""

    action: Literal[Action.END_EXPERIMENT] = Action.END_EXPERIMENT
    branch: Branch
    """The task that follows."""
    outcome: str | None = None
    """The experiment's verdict; None where none runs."""
    experiment_id: str | None = None
    report_id: str | None = None
    comparison_id: str | None = None


_KINDS: dict[str, type[DecisionRecord]] = {
    Action.PROMOTE: PromotionRequest,
    Action.ROLLBACK: RollbackRequest,
    Action.WATCH: ProbationDecision,
    Action.START_EXPERIMENT: ExperimentRequest,
    Action.STOP_EXPERIMENT: ExperimentRequest,
    Action.END_EXPERIMENT: ExperimentDecision,
}
