"""The message about a decision: its sentence first, then the evidence behind it, then the links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.alerts.messages.evidence import alarms, comparison, metrics, span, top_features
from keel.alerts.messages.layout import aligned, known, to_people_of
from keel.monitoring.alarm_words import names_of
from keel.monitoring.alarms import Verdict
from keel.monitoring.records import Action, MessagePart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keel.config import ModelConfig
    from keel.monitoring.alarms import Judgement
    from keel.monitoring.records import (
        DecisionRecord,
        Message,
        Outcome,
        StoredDriftReport,
        StoredPerformanceReport,
        StoredQualityReport,
    )
    from keel.reports.publication import PublishedReport

HEADLINES = {
    # outcomes
    "staged": "version {version} waits for approval",
    "declined": "the new version was declined, version {version} stays in production",
    "rolled_back": "rolled back to version {version}",
    "confirmed": "version {version} passed its probation",
    "probation_over": "probation of version {version} ended without enough evidence",
    "experiment_ended": "the experiment ended without a verdict",
    "promoted": "retrained and promoted version {version}",
    "kept_champion": "retrained, kept champion {version}",
    "quarantined": "broken data was quarantined",
    "labels_quarantined": "labels failed their check and were quarantined",
    "released": "data is broken, but was released from quarantine",
    # actions, of which there is no outcome
    "raise_alert": "needs attention",
    "retrain": "is being retrained",
    "quarantine": "data is broken",
    "promote": "a promotion was requested",
    "rollback": "a rollback was requested",
    "watch": "needs attention",
    "start_experiment": "an experiment started",
    "stop_experiment": "the experiment was stopped",
    "end_experiment": "the experiment ended",
}
REPEATED = frozenset({Action.RAISE_ALERT, Action.QUARANTINE, Action.WATCH})
"""Every check decides these again for as long as their cause lies in its window, so people are notified once per alert
cooldown. A retrain has a cooldown of its own."""

CHANGES = frozenset({"rolled_back", "confirmed", "probation_over"})
"""Outcomes of a probation, of which people are always notified."""

SCHEDULE = "airflow"
"""The requester's name where no person made the request."""


def compose_alert(
    config: ModelConfig,
    decision: DecisionRecord,
    outcome: Outcome | None,
    *,
    quality: StoredQualityReport | None,
    drift: StoredDriftReport | None,
    performance: StoredPerformanceReport | None,
    repeated: bool,
    run_url: str | None,
    judgements: Sequence[Judgement] = (),
    report: PublishedReport | None = None,
) -> Message | None:
    """Compose the message about a decision and its outcome; None when there is nothing to notify people of.

    Parameters
    ----------
    config
        Names the addressees, the owner and the runbook.
    decision
        What was decided. All clear needs no message.
    outcome
        What the decision led to; None where no task followed it. People are always notified of a promotion, a rollback
        or another change of a version.
    quality, drift, performance
        The reports of the window; None for a check that did not run.
    repeated
        Whether people were notified of the same causes within the cooldown. An alert, or a quarantine, is then silent.
    run_url
        The page of the run in Airflow.
    judgements
        The live alarms that were open, and what the check made of them.
    report
        The page of the check: where it is, or why it could not be published, and its picture.

    """
    if decision.action is Action.ALL_CLEAR:
        return None
    changed = outcome is not None and outcome.outcome in CHANGES
    if repeated and not changed and decision.action in REPEATED:
        return None
    sentences, facts = _sentences(decision, outcome), _facts(config, decision, outcome, quality)
    evidence = [alarms(judgements), comparison(outcome), top_features(drift), metrics(performance)]
    links = _links(config, outcome, run_url, report)
    lines = [
        *_paragraphs(sentences),
        "",
        *aligned(facts),
        *(line for each in evidence for line in each.lines),
        *(["", *aligned(links)] if links else []),
        "",
    ]
    parts = [
        MessagePart(paragraphs=tuple(sentences)),
        MessagePart(facts=facts | links),
        *(part for each in evidence for part in each.parts),
    ]
    subject = f"{config.model}: {_headline(decision, outcome)}{_by_alarm(judgements)}"
    return to_people_of(config, subject=subject, lines=lines, parts=parts, picture=report.picture if report else None)


def _headline(decision: DecisionRecord, outcome: Outcome | None) -> str:
    headline = HEADLINES[outcome.outcome if outcome else decision.action]
    if decision.action in (Action.PROMOTE, Action.END_EXPERIMENT):  # nothing was trained for it
        headline = headline.removeprefix("retrained and ").removeprefix("retrained, ")
    return headline.format(version=(outcome.version if outcome else None) or decision.version)


def _by_alarm(judgements: Sequence[Judgement]) -> str:
    """Return what the confirmed alarms are about, and since when; empty without any."""
    shown = [each.alarm for each in judgements if each.verdict in (Verdict.CONFIRMED, Verdict.FAULT)]
    if not shown:
        return ""
    return f" (live alarm: {names_of(shown)}, since {min(alarm.since for alarm in shown):%Y-%m-%d %H:%M} UTC)"


def _sentences(decision: DecisionRecord, outcome: Outcome | None) -> list[str]:
    """Return what happened and why, each sentence once."""
    return list(dict.fromkeys([decision.sentence, *([outcome.sentence] if outcome else []), *decision.findings]))


def _paragraphs(sentences: list[str]) -> list[str]:
    first, *others = sentences
    return [first, *(line for paragraph in others for line in ("", paragraph))]


def _facts(
    config: ModelConfig, decision: DecisionRecord, outcome: Outcome | None, quality: StoredQualityReport | None
) -> dict[str, str]:
    excluded = quality.quarantined if quality else None
    return known(
        {
            "Model": f"{config.model} (owner: {config.owner})",
            "Window": span(decision.window),
            "Version": _versions(decision, outcome),
            "Quarantined": f"{excluded.rows:,} rows of {excluded.hours} h" if excluded and excluded.hours else None,
            "Requested by": None if decision.requested_by == SCHEDULE else decision.requested_by,
        }
    )


def _links(
    config: ModelConfig, outcome: Outcome | None, run_url: str | None, report: PublishedReport | None
) -> dict[str, str]:
    shown = (report.address or report.problem) if report else None
    mlflow = outcome.mlflow_run_id if outcome else None
    return known({"Report": shown, "Run": run_url, "MLflow": mlflow, "Runbook": config.alerts.runbook})


def _versions(decision: DecisionRecord, outcome: Outcome | None) -> str:
    if outcome and outcome.outcome == "rolled_back":
        bad = decision.version if outcome.rolled_back_version is None else outcome.rolled_back_version
        return f"{outcome.version} in production, {bad} was rolled back"
    if outcome is None or outcome.challenger is None:
        return f"{decision.version} in production"
    champion, challenger = outcome.champion, outcome.challenger
    if challenger == champion:
        return f"{champion} in production, no other was trained"
    if outcome.outcome == "promoted":
        return f"{challenger} in production, before it {champion or 'none'}"
    if outcome.outcome == "staged":
        return f"{champion} in production, {challenger} staged"
    return f"{champion} in production, challenger {challenger} rejected"
