"""What a check saw: the findings of its reports and of what it led to, as one observation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keel.alerts.findings.columns import judge_columns, judge_previous
from keel.alerts.findings.harm import harm_is_unknown, judge_performance
from keel.alerts.findings.judged import Judged, together
from keel.alerts.findings.live import confirmed_columns, judge_alarms, urgent_columns
from keel.alerts.findings.outcome import change_of
from keel.alerts.findings.quality import Quarantine, is_settled, judge_arrival, judge_labels, judge_quality
from keel.alerts.records import CHECK, Observation
from keel.config import Kind
from keel.monitoring.records import (
    Action,
    DecisionRecord,
    Outcome,
    StoredConsecutiveReport,
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.monitoring.storage import derived_id

if TYPE_CHECKING:
    from keel.alerts.budget import Levels
    from keel.config import ModelConfig
    from keel.monitoring.alarms import Judgement


@dataclass(frozen=True)
class CheckFacts:
    """What is stored of a check: the reports of its window; None for a check that did not run."""

    quality: StoredQualityReport | None = None
    drift: StoredDriftReport | None = None
    performance: StoredPerformanceReport | None = None
    labels: StoredLabelsReport | None = None
    consecutive: StoredConsecutiveReport | None = None
    """The window against the one before it; None where the model does not ask for it."""
    judgements: Sequence[Judgement] = ()
    """What the check made of the live alarms that were open."""
    chance_of_no_rows: float | None = None
    """The probability that the version has had no row for so long; None where the window has rows."""
    quarantines: Sequence[Quarantine] = ()
    """All that this check and earlier ones have quarantined, released or not."""


def observe_check(
    config: ModelConfig,
    decision: DecisionRecord,
    outcome: Outcome | None,
    facts: CheckFacts,
    *,
    levels: Levels,
) -> Observation:
    """Return what a check saw, and what its decision led to.

    Where the check put another version into production, what it found by a test is about the version before, and over
    with it: the message has it as the reason for the change.

    Parameters
    ----------
    decision, outcome
        What was decided and what it led to; None where no task followed it.
    levels
        What a statistical finding must reach to alert (`keel.alerts.budget.alert_levels`).

    """
    found = judge_check(config, decision, facts, levels)
    change = change_of(decision, outcome)
    return Observation(
        observation_id=identity_of(decision, outcome),
        model=config.model,
        source=CHECK,
        at=decision.window.end,
        findings=(*found.findings, *change.findings),
        examined=found.examined,
        resolution=change.resolution,
        version_changed=change.version_changed,
    )


def judge_check(config: ModelConfig, decision: DecisionRecord, facts: CheckFacts, levels: Levels) -> Judged:
    """Judge all reports of a check."""
    level = levels.level
    quality, drift, performance, labels = facts.quality, facts.drift, facts.performance, facts.labels
    data_is_broken = quality is not None and quality.status == "broken"
    labels_are_broken = labels is not None and labels.status == "broken"
    columns, end = tuple(drift.features) if drift else (), decision.window.end
    moved = judge_columns(
        drift,
        level=level,
        harm_is_unknown=harm_is_unknown(performance),
        outputs_are_judged=not data_is_broken,
        alarmed=confirmed_columns(facts.judgements),
        urgent=urgent_columns(facts.judgements, performance),
    )
    harm = judge_performance(
        performance,
        labels,
        level=levels.harm,
        long_run_level=levels.long_run,
        label_level=level,
        is_trusted=not (data_is_broken or labels_are_broken),
        min_rows=config.performance.min_rows,
    )
    return together(
        [
            judge_arrival(
                quality, is_new=decision.action is Action.ALL_CLEAR, chance=facts.chance_of_no_rows, level=level
            ),
            judge_quality(quality, columns=columns, level=level, is_settled=is_settled(facts.quarantines, end)),
            judge_labels(
                labels,
                labels_missing=performance is not None and performance.labels_missing,
                level=level,
                quarantines=facts.quarantines,
                end=end,
            ),
            harm,
            moved,
            judge_previous(
                facts.consecutive,
                level=level,
                configured="previous" in config.drift.against,
                columns=drift.features if drift else None,
                outputs_are_judged=not data_is_broken,
            ),
            judge_alarms(
                facts.judgements,
                told={each.subject for each in moved.findings},
                harm_is_told=any(each.kind is Kind.PERFORMANCE for each in harm.findings),
            ),
        ]
    )


def identity_of(decision: DecisionRecord, outcome: Outcome | None) -> str:
    """Return the id of what is observed of a decision: a task that runs again observes the same.

    Another run on the same window that decides otherwise, has another outcome or judges other alarms replaces the
    decision under its id, and is another observation.
    """
    parts = (decision.action, outcome.outcome if outcome else "", str(decision.version), *decision.alarms)
    return derived_id("observation", decision.decision_id, *parts)
