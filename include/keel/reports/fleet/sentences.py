"""What there is to say about a model, in a sentence or two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from keel.evaluation.experiment.plan import Plan, share_at
from keel.ledger.wording import as_number
from keel.monitoring.alarm_words import names_of
from keel.monitoring.performance_words import capitalised, harm_shown, shown_by_the_window
from keel.monitoring.records import Action
from keel.reports import numbers
from keel.reports.check.words import Trouble, headline, trouble
from keel.reports.fleet.states import State, present_check
from keel.reports.fleet.words import about, clock, since
from keel.reports.metric_words import metric_name

if TYPE_CHECKING:
    from keel.monitoring.records import StoredPerformanceReport
    from keel.reports.fleet.facts import ModelFacts, RunningExperiment

Say = Callable[["ModelFacts", datetime], str]


def sentence(facts: ModelFacts, state: State, now: datetime) -> str:
    """Return what there is to say about a model in a state."""
    said = _SAY.get(state, _of_check)(facts, now)
    more = [_held(facts)] if state in (State.FINE, State.PROBATION) and facts.quarantined else []
    return " ".join((said, *more))


def worse_since(facts: ModelFacts, now: datetime) -> str:
    """Return since when a model is worse than its holdout, such as ``since Tuesday``; empty where that is not known.

    The alert about it knows the first check that found so. Without one, the windows of the history tell.
    """
    known = [alert["first_seen"] for alert in facts.alerts if alert["kind"] == "performance"]
    if known:
        return since(min(known), now)
    first = None
    for measured in reversed(facts.history):
        if measured.status != "degraded":
            break
        first = measured.end
    return since(first, now) if first else ""


def _worse(facts: ModelFacts, now: datetime) -> str:
    check = present_check(facts)
    assert check is not None
    assert check.performance is not None
    return f"{_harm(check.performance, worse_since(facts, now))} {_follows(facts)}".strip()


def _harm(performance: StoredPerformanceReport, when: str) -> str:
    metric, worse = performance.metric, performance.increase
    value = performance.current[metric].value if metric in performance.current else None
    if value is None or worse is None or not shown_by_the_window(performance):
        return harm_shown(performance)
    shown, more = numbers.alike(value, worse)
    return f"{capitalised(metric_name(metric))} {shown}, {more} worse than on the holdout{f' {when}' if when else ''}."


def _follows(facts: ModelFacts) -> str:
    """Return what is being done about harm."""
    check = present_check(facts)
    outcome = check.outcome if check else None
    if (staged := facts.deployment.staging) is not None:
        return f"Version {staged} waits for approval."
    if facts.experiment is not None:
        return f"Version {facts.experiment.plan.get('challenger')} is tried in an experiment."
    if check is None or check.decision is None or check.decision.action is not Action.RETRAIN:
        return ""
    if outcome is None or outcome.outcome == "retrain":
        return "A new version is being trained and compared."
    return "A retrained version is no better." if outcome.outcome == "kept_champion" else ""


def _overdue(facts: ModelFacts, now: datetime) -> str:
    due, last = facts.times.due, facts.times.last
    assert due is not None
    ago = f"the last one was {about(now - last)} ago" if last else "there was none before"
    return (
        f"The check that was due {about(now - due)} ago has not come, and {ago}. See whether the scheduler runs, and "
        "whether the DAG is paused."
    )


def _labels_missing(facts: ModelFacts, now: datetime) -> str:
    check = present_check(facts)
    assert check is not None
    performance = check.performance
    if performance is None or performance.label_rate is None:
        return headline(check)
    least = facts.config.performance.min_label_rate
    return (
        f"{numbers.share(performance.label_rate, 2)} of {performance.due:,} due labels have arrived; "
        f"{numbers.share(least, 2)} are needed. Harm is not seen until they come."
    )


def _approval(facts: ModelFacts, now: datetime) -> str:
    version, evidence = facts.deployment.staging, facts.staged
    gain, least = as_number(evidence.get("improvement")), as_number(evidence.get("lower_bound"))
    if gain is None or least is None:
        return f"Version {version} waits for approval."
    better = f"better by {numbers.number(gain)} (at least {numbers.number(least)})"
    return f"Version {version} is {better}, and waits for approval."


def _alarm(facts: ModelFacts, now: datetime) -> str:
    opened = numbers.count(len(facts.alarms), "live alarm")
    first = min(alarm.since for alarm in facts.alarms)
    verb = "is" if len(facts.alarms) == 1 else "are"
    return f"{opened} {verb} open {since(first, now)} ({names_of(facts.alarms)}). The next check judges it."


def _experiment(facts: ModelFacts, now: datetime) -> str:
    assert facts.experiment is not None
    running = facts.experiment
    share = answered(running, now)
    version = f"Version {running.plan.get('challenger')}"
    does = f"{version} answers {share}" if share else f"{version} scores every request in the shadow"
    n = as_number(running.evaluation.get("n"))
    if not n:
        return f"{does}; no outcome is evaluated yet."
    return f"{does}; no difference is shown yet on {numbers.count(n, 'outcome')}."


def answered(running: RunningExperiment, now: datetime) -> str:
    """Return which share of the requests the challenger of an experiment answers now; empty in shadow mode."""
    plan = Plan.from_dict(running.plan)
    return "" if plan.mode == "shadow" else numbers.share(share_at(plan, max(now, plan.started_at)))


def _probation(facts: ModelFacts, now: datetime) -> str:
    assert facts.probation is not None
    until = numbers.time(facts.probation.until)
    if facts.probation.until <= now:  # of a replayed past, or where its labels came too late to show anything
        return f"Version {facts.probation.version} is on probation, which its labels up to {until} decide."
    return f"Version {facts.probation.version} is on probation until {until}."


def _not_checked(facts: ModelFacts, now: datetime) -> str:
    version, due = facts.deployment.production, facts.times.due
    upcoming = f"the first check is due {clock(due, now)} UTC" if due else "it is checked on request"
    return f"Version {version} is in production and not checked yet; {upcoming}."


def _no_version(facts: ModelFacts, now: datetime) -> str:
    return "No version is in production. Train one: run the DAG " + f"{facts.config.model}.retrain."


def _fine(facts: ModelFacts, now: datetime) -> str:
    check = present_check(facts)
    if check is None or trouble(check) is Trouble.NONE:
        return "All checks passed."
    return headline(check)


def _of_check(facts: ModelFacts, now: datetime) -> str:
    check = present_check(facts)
    return headline(check) if check else ""


def _held(facts: ModelFacts) -> str:
    held = numbers.count(len(facts.quarantined), "quarantine")
    return f"{held} {'waits' if len(facts.quarantined) == 1 else 'wait'} for a release."


_SAY: Mapping[State, Say] = {
    State.WORSE: _worse,
    State.OVERDUE: _overdue,
    State.LABELS_MISSING: _labels_missing,
    State.APPROVAL: _approval,
    State.ALARM: _alarm,
    State.EXPERIMENT: _experiment,
    State.PROBATION: _probation,
    State.NOT_CHECKED: _not_checked,
    State.NO_VERSION: _no_version,
    State.FINE: _fine,
}
