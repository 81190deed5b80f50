"""The message about a change of a version that no check made: a promotion, a rollback, a probation, an experiment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.findings.outcome import requester
from keel.alerts.messages.base import known, links, message, owner, versions
from keel.alerts.messages.done import became, what_keel_did
from keel.alerts.messages.tables import comparison, over, within
from keel.alerts.messages.todo import by_kind, command
from keel.alerts.messages.words import NOTHING, headline, lowered
from keel.ledger.wording import with_full_stop
from keel.monitoring.performance_words import capitalised
from keel.monitoring.records import ExperimentDecision, ProbationDecision

if TYPE_CHECKING:
    from keel.alerts.records import Message, Notice
    from keel.config import ModelConfig
    from keel.monitoring.records import DecisionRecord, Outcome
    from keel.reports.publication import PublishedReport


def compose_event(
    config: ModelConfig,
    notice: Notice,
    *,
    decision: DecisionRecord,
    outcome: Outcome | None,
    now: datetime,
    run_url: str | None = None,
    report: PublishedReport | None = None,
    version_url: str | None = None,
) -> Message:
    """Compose the message about a person's request, a probation or an experiment, and what it led to.

    run_url, version_url: the pages of the run in Airflow and of the version in MLflow.
    report: the page of the comparison behind the outcome, with its picture.
    """
    found = became(decision, outcome) or headline(notice.news)
    hurts = _harm(decision)
    return message(
        config,
        notice,
        subject=found,
        happened=f"{capitalised(found)}.",
        hurts=tuple(hurts),
        done=tuple([*_done(decision, outcome, is_told=bool(hurts)), *decision.findings]),
        todo=tuple(_to_do(config.model, notice, outcome)),
        facts=known(
            {
                "Model": owner(config),
                "Version": versions(decision.version, outcome),
                "Experiment": getattr(decision, "experiment_id", None),
                "Requested by": requester(decision),
            }
        ),
        evidence=within([over(notice.news), comparison(outcome)]),
        links=links(run_url=run_url, report=report, version_url=version_url),
        picture=report.picture if report else None,
        now=now,
    )


def _done(decision: DecisionRecord, outcome: Outcome | None, *, is_told: bool) -> list[str]:
    """Return what was done, and why, where nothing else of the message says that.

    is_told: whether the message has the decision's sentence already.
    """
    why = [with_full_stop(decision.sentence.removeprefix(f"{getattr(decision, 'experiment_id', '')}: "))]
    if outcome is None:
        return what_keel_did(decision, None) if is_told else why
    is_said = is_told or (not isinstance(decision, ExperimentDecision) and decision.sentence in outcome.sentence)
    return [*([] if is_said else why), *what_keel_did(decision, outcome)]


def _harm(decision: DecisionRecord) -> list[str]:
    """Return what a probation shows of harm; nothing else that is told here measures it."""
    if not isinstance(decision, ProbationDecision):
        return []
    words = {"harm": "Yes: ", "broken_promise": "Yes: ", "inconclusive": "Not known: "}
    sentence = decision.watched.sentence
    start = words.get(decision.verdict, "")
    return [with_full_stop(f"{start}{lowered(sentence)}" if start else sentence)] if sentence else []


def _to_do(model: str, notice: Notice, outcome: Outcome | None) -> list[str]:
    """Return what to do after a change of a version."""
    steps = by_kind(notice.news)
    if steps:
        return steps
    if outcome is not None and outcome.outcome == "promoted":
        watched = f"{NOTHING}: Keel monitors the version during its probation."
        line = f'airflow dags trigger {model}.rollback --conf \'{{"reason": "…"}}\''
        return [watched] if outcome.champion is None else [watched, command("To roll it back:", line)]
    return [f"{NOTHING}."]
