"""What Keel did about a decision, in sentences, and in a clause for the subject."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from keel.ledger.wording import with_full_stop
from keel.monitoring.performance_words import capitalised
from keel.monitoring.records import Action
from keel.reports import numbers
from keel.reports.metric_words import metric_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keel.monitoring.records import DecisionRecord, Outcome
    from keel.window import Window

CLAUSES = {
    "promoted": "version {version} was promoted",
    "staged": "version {version} waits for approval",
    "declined": "version {challenger} was declined",
    "kept_champion": "version {version} stays in production",
    "rolled_back": "production was rolled back to version {version}",
    "confirmed": "version {version} passed its probation",
    "probation_over": "the probation of version {version} ended without enough evidence",
    "experiment_ended": "the experiment ended without a verdict",
    "quarantined": "it was quarantined",
    "labels_quarantined": "they were quarantined",
    "released": "a person has released it from quarantine",
}
"""What became of a decision, by outcome, for a headline."""
REQUESTS = {
    Action.RETRAIN: "a retraining was requested",
    Action.PROMOTE: "a promotion was requested",
    Action.ROLLBACK: "a rollback was requested",
    Action.WATCH: "the version on probation needs attention",
    Action.START_EXPERIMENT: "an experiment started",
    Action.STOP_EXPERIMENT: "the experiment was stopped",
    Action.END_EXPERIMENT: "the experiment ended",
}
"""What a person or an evaluation decided, where there is no outcome yet."""
_WHY_NOT = re.compile(r"(No (?:second )?retraining\b.*?\.(?= |$))")
"""The sentence of a decision that says why nothing is retrained."""


def became(decision: DecisionRecord, outcome: Outcome | None) -> str:
    """Return what became of a decision as a clause; empty where nothing did, as after an alert."""
    kind = outcome.outcome if outcome else ""
    if outcome is not None and kind in CLAUSES:
        clause = CLAUSES[kind].format(version=outcome.version or decision.version, challenger=outcome.challenger)
        is_verdict = decision.action is Action.END_EXPERIMENT and kind != "experiment_ended"
        return f"the experiment ended, and {clause}" if is_verdict else clause
    if decision.action is Action.RETRAIN and decision.reason is None:
        return "a new version is being trained"
    if decision.action is Action.QUARANTINE:
        return "it is being quarantined"
    return REQUESTS.get(decision.action, "")


def what_keel_did(decision: DecisionRecord, outcome: Outcome | None) -> list[str]:
    """Return what Keel did, and why."""
    kind = outcome.outcome if outcome else ""
    compared = kind in ("promoted", "staged", "kept_champion") and decision.action is not Action.END_EXPERIMENT
    if outcome is not None and compared and outcome.improvement is not None:
        return [_compared(decision, outcome)]
    if outcome is not None and kind == "quarantined":
        return [f"The hours {_spans(outcome.quarantined)} were quarantined: no version learns from them."]
    if kind == "labels_quarantined":
        return ["The labels were quarantined: nothing rests on them until a person releases them."]
    if kind == "released":
        return ["Nothing: a person has released this data from quarantine."]
    is_told = decision.sentence in outcome.sentence if outcome else True
    if outcome is not None and outcome.sentence and not is_told:
        return [with_full_stop(capitalised(outcome.sentence))]
    return [_not_acted(decision)]


def _not_acted(decision: DecisionRecord) -> str:
    if decision.action is Action.RETRAIN:
        return "A new version is being trained."
    if decision.action is Action.QUARANTINE:
        return "The data is being quarantined: no version learns from it."
    stays = f"Version {decision.version} stays in production." if decision.version is not None else ""
    if found := _WHY_NOT.search(decision.sentence):
        return f"{found[1]} {stays}".strip()
    return f"Nothing was changed. {stays}".strip()


def _compared(decision: DecisionRecord, outcome: Outcome) -> str:
    """Return a comparison in a sentence: what was done, how much better the version is, and how sure that is."""
    new, old = outcome.challenger, outcome.champion
    is_trained = decision.action is Action.RETRAIN
    rows = numbers.count(outcome.n, "outcome" if outcome.basis == "experiment" else "unseen row")
    metric = outcome.loss or metric_name(outcome.metric or "")
    improvement, least = numbers.signs(outcome.improvement, outcome.lower_bound)
    if outcome.outcome == "kept_champion":
        shown = "is not better" if outcome.verdict == "fail" else "is not shown to be better"
        trained = f"Version {new} was trained, and {shown}" if is_trained else f"Version {new} {shown}"
        return f"{trained} ({improvement} in {metric} on {rows}): version {old} stays in production."
    done = "promoted" if outcome.outcome == "promoted" else "staged, and waits for approval"
    joined = f"Version {new} was trained and {done}" if is_trained else f"Version {new} was {done}"
    return f"{joined}: its {metric} is better than version {old}'s by {improvement}, at least {least}, on {rows}."


def _spans(spans: Sequence[Window]) -> str:
    return ", ".join(numbers.span(span.start, span.end) for span in spans[:3]) + (" and more" if len(spans) > 3 else "")
