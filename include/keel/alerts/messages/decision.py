"""The message about a decision: its sentence first, then the evidence behind it, then the links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.alerts.messages.layout import aligned, to_people_of
from keel.monitoring.records import Action

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import (
        DecisionRecord,
        Message,
        Outcome,
        Span,
        StoredColumn,
        StoredDriftReport,
        StoredPerformanceReport,
        StoredQualityReport,
    )
    from keel.window import Window

TOP_FEATURES = 5
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

    """
    if decision.action is Action.ALL_CLEAR:
        return None
    changed = outcome is not None and outcome.outcome in CHANGES
    if repeated and not changed and decision.action in REPEATED:
        return None
    headline = HEADLINES[outcome.outcome if outcome else decision.action]
    if decision.action in (Action.PROMOTE, Action.END_EXPERIMENT):  # nothing was trained for it
        headline = headline.removeprefix("retrained and ").removeprefix("retrained, ")
    version = (outcome.version if outcome else None) or decision.version
    lines = [
        *_sentences(decision, outcome),
        "",
        *_facts(config, decision, outcome, quality),
        *_comparison(outcome),
        *_top_features(drift),
        *_metrics(performance),
        *_links(config, outcome, run_url),
        "",
    ]
    return to_people_of(config, subject=f"{config.model}: {headline.format(version=version)}", lines=lines)


def _sentences(decision: DecisionRecord, outcome: Outcome | None) -> list[str]:
    """Return what happened and why, a paragraph each."""
    paragraphs = [decision.sentence, *([outcome.sentence] if outcome else []), *decision.findings]
    first, *others = dict.fromkeys(paragraphs)
    return [first, *(line for paragraph in others for line in ("", paragraph))]


def _facts(
    config: ModelConfig, decision: DecisionRecord, outcome: Outcome | None, quality: StoredQualityReport | None
) -> list[str]:
    excluded = quality.quarantined if quality else None
    facts = {
        "Model": f"{config.model} (owner: {config.owner})",
        "Window": _span(decision.window),
        "Version": _versions(decision, outcome),
        "Quarantined": f"{excluded.rows:,} rows of {excluded.hours} h" if excluded and excluded.hours else None,
        "Requested by": None if decision.requested_by == SCHEDULE else decision.requested_by,
    }
    return aligned(facts)


def _links(config: ModelConfig, outcome: Outcome | None, run_url: str | None) -> list[str]:
    links = {"Run": run_url, "MLflow": outcome.mlflow_run_id if outcome else None, "Runbook": config.alerts.runbook}
    lines = aligned(links)
    return ["", *lines] if lines else []


def _comparison(outcome: Outcome | None) -> list[str]:
    """Return the numbers of the comparison that the outcome rests on."""
    if outcome is None or outcome.lower_bound is None or outcome.holdout is None:
        return []
    if outcome.basis == "experiment":
        title = f"In the experiment {_span(outcome.holdout)} ({outcome.n:,} outcomes), mean {outcome.loss}:"
        metric = ""
    else:
        title = f"On the holdout {_span(outcome.holdout)} ({outcome.n:,} labelled rows neither version has seen):"
        metric = f"{outcome.metric} "
    lines = [
        "",
        title,
        f"  champion   version {outcome.champion}: {metric}{outcome.champion_value:.4f}",
        f"  challenger version {outcome.challenger}: {metric}{outcome.challenger_value:.4f}",
        f"  improvement {outcome.improvement:+.4f}, lower bound {outcome.lower_bound:+.4f}"
        f" (must exceed {outcome.margin:g})",
    ]
    if prior := outcome.prior_comparisons:
        lines.append(f"  {prior} earlier comparison{'s' if prior > 1 else ''} used rows of it: the bound is stricter")
    return lines


def _top_features(drift: StoredDriftReport | None) -> list[str]:
    if drift is None:
        return []
    moved = [(name, column) for name, column in drift.features.items() if column.severity in ("drift", "warn")]
    if not moved:
        return ["", f"Inputs: none has moved beyond its threshold ({drift.n:,} rows)."]
    shown = moved[:TOP_FEATURES]
    width = max(len(name) for name, _ in shown)
    lines = ["", f"Columns that moved most ({drift.count}, on {drift.n:,} rows):"]
    return lines + [f"  {name:<{width}}  {column.status:<8} {describe_column(column)}" for name, column in shown]


def describe_column(column: StoredColumn) -> str:
    """Return a column's measures in a line, or the reasons for its status where nothing was measured."""
    measures = (
        ("PSI {:.3f}", column.measure("psi")),
        ("KS {:.3f}", column.measure("ks", "statistic")),
        ("PSI {:.3f} off the frequent values", _beside_atoms(column)),
        ("χ² {:.1f}", column.measure("chi_square", "statistic")),
        ("shift {:.2f} IQR", column.measure("wasserstein")),
        ("{:.1%} missing", column.missing_rate or None),
        ("impact {:+.4f}", column.impact),
    )
    described = [words.format(number) for words, number in measures if number is not None]
    return ", ".join(described) or "; ".join(column.reasons)


def _beside_atoms(column: StoredColumn) -> float | None:
    """Return the PSI off the frequent values where it shows more than the PSI of all rows."""
    beside = column.measure("off_atoms", "psi")
    return beside if beside is not None and beside > (column.measure("psi") or 0.0) else None


def _metrics(performance: StoredPerformanceReport | None) -> list[str]:
    if performance is None or not performance.current:
        return []
    lines = ["", f"Performance on {performance.n:,} labels, holdout in brackets:"]
    for name, now in performance.current.items():
        then = performance.reference.get(name)
        if now.value is not None and then is not None and then.value is not None:
            lines.append(f"  {name:<9} {now.value:.4f} ({then.value:.4f})")
    return lines


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


def _span(window: Window | Span) -> str:
    return f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC"
