"""How a model is: the worst that is known about it now, in a word or two."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

from keel.monitoring.records import Action
from keel.reports.check.remedies import to_do
from keel.reports.check.words import Trouble, trouble
from keel.reports.page import Tag, Tone

if TYPE_CHECKING:
    from datetime import datetime

    from keel.reports.check.data import CheckData
    from keel.reports.fleet.facts import ModelFacts


class State(StrEnum):
    """How a model is, the worst first; the values are what people read."""

    WORSE = "Worse"
    BROKEN_DATA = "Data is broken"
    BROKEN_LABELS = "Labels are broken"
    NO_PREDICTIONS = "No predictions"
    UNREADABLE = "Cannot be read"
    OVERDUE = "Check overdue"
    LABELS_MISSING = "Labels missing"
    APPROVAL = "A person is asked"
    DRIFT = "Drift"
    ATTENTION = "Needs attention"
    ALARM = "Live alarm"
    RETRAINING = "Being retrained"
    EXPERIMENT = "Experiment"
    PROBATION = "Probation"
    TOO_FEW = "Too few rows"
    NOT_CHECKED = "Not checked yet"
    NO_VERSION = "No version yet"
    FINE = "Fine"

    @property
    def rank(self) -> int:
        """Its place in the order, from the worst."""
        return _RANKS[self]

    @property
    def needs_person(self) -> bool:
        """Whether a person has to do something."""
        return self.rank <= State.ATTENTION.rank

    @property
    def is_unknown(self) -> bool:
        """Whether too little is known to call the model fine."""
        return self in (State.TOO_FEW, State.NOT_CHECKED, State.NO_VERSION)

    @property
    def tag(self) -> Tag:
        """The state with its tone."""
        if self is State.FINE:
            return Tag(self.value, Tone.GOOD)
        if self.rank <= State.UNREADABLE.rank:
            return Tag(self.value, Tone.BAD)
        return Tag(self.value, Tone.WARN if self.rank <= State.ALARM.rank else Tone.NEUTRAL)


_RANKS = {state: i for i, state in enumerate(State)}
_OF_TROUBLE = {
    Trouble.HARM: State.WORSE,
    Trouble.BROKEN_DATA: State.BROKEN_DATA,
    Trouble.BROKEN_LABELS: State.BROKEN_LABELS,
    Trouble.NO_ROWS: State.NO_PREDICTIONS,
    Trouble.MISSING_LABELS: State.LABELS_MISSING,
    Trouble.DRIFT: State.DRIFT,
}


def state_of(facts: ModelFacts, now: datetime) -> State:
    """Return the worst state of a model."""
    return min(_states(facts, now), key=lambda state: state.rank, default=State.FINE)


def _states(facts: ModelFacts, now: datetime) -> Iterator[State]:
    if facts.times.is_overdue(now):
        yield State.OVERDUE
    if facts.deployment.production is None:
        yield State.NO_VERSION
    elif present_check(facts) is None:
        yield State.NOT_CHECKED
    if check := present_check(facts):
        yield _of_check(check)
    for state, is_so in (
        (State.APPROVAL, facts.deployment.staging is not None),
        (State.ALARM, bool(facts.alarms)),
        (State.EXPERIMENT, facts.experiment is not None),
        (State.PROBATION, facts.probation is not None),
    ):
        if is_so:
            yield state


def present_check(facts: ModelFacts) -> CheckData | None:
    """Return the last check of the version in production; None where the last one is of another version."""
    check = facts.check
    return check if check is not None and check.version == facts.deployment.production else None


def _of_check(check: CheckData) -> State:
    found = trouble(check)
    outcome = check.outcome.outcome if check.outcome else ""
    if outcome == "staged" and found is not Trouble.HARM:
        return State.FINE  # whether a version still waits is the deployment's to say
    if to_do(check).needed:
        acting = check.decision is not None and check.decision.action is Action.RETRAIN and outcome in ("", "retrain")
        if acting and found is not Trouble.HARM:
            return State.RETRAINING
        return _OF_TROUBLE.get(found, State.ATTENTION)
    if found is Trouble.NO_ROWS:
        return State.NOT_CHECKED
    return State.TOO_FEW if found is Trouble.INSUFFICIENT else State.FINE
