"""What people are told of a decision: what its source saw goes through the door of `keel.alerts`."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from keel.alerts import door
from keel.alerts.budget import alert_levels, recorded_looks
from keel.alerts.door import Posted
from keel.alerts.findings.check import CheckFacts, observe_check
from keel.alerts.findings.outcome import observe_outcome
from keel.alerts.findings.quality import Quarantine
from keel.alerts.messages.check import compose_check
from keel.alerts.messages.event import compose_event
from keel.config import read_models
from keel.loop.arrivals import chance_of_no_rows
from keel.loop.publishing import checked_version
from keel.monitoring import storage
from keel.monitoring.alarm_records import judgements_of
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from keel.alerts.records import Message, Notice, Observation
    from keel.config import ModelConfig
    from keel.reports.publication import PublishedReport
    from keel.workspace import Workspace

log = logging.getLogger(__name__)


def notify(
    ws: Workspace,
    config: ModelConfig,
    decision: DecisionRecord,
    outcome: Outcome | None = None,
    *,
    run_url: str | None = None,
    report: PublishedReport | None = None,
    now: datetime,
) -> Posted:
    """Apply a decision to the alerts of its model, once, and write the message about what is new into the outbox.

    An all clear is applied too: it ends what is over. Most decisions lead to no message, as people know already what
    they say, or hear of it in a digest. `keel.alerts.delivery` sends what is written.

    Parameters
    ----------
    outcome
        What the decision led to; None where no task followed it.
    run_url
        The page of the run in Airflow.
    report
        What `publish_report` returned, which the message links and takes its picture from.
    now
        The time by the clock.

    Raises
    ------
    StoreUnavailable
        Nothing was applied and nothing is told; the same call can be made again.

    """
    if not decision.decision_id:  # nothing was to be done, and nothing was stored
        return Posted()
    facts = _facts(ws, config, decision)
    observation = _observation(ws, config, decision, outcome, facts, now=now)
    log.debug("%s sees %d findings", observation.source, len(observation.findings))

    def compose(notice: Notice) -> Message:
        is_event = facts is None and decision.action is not Action.RETRAIN
        compose_it: Callable[..., Message] = (
            compose_event if is_event else partial(compose_check, facts=facts or CheckFacts())
        )
        return compose_it(
            config,
            notice,
            decision=decision,
            outcome=outcome,
            now=now,
            run_url=run_url,
            report=report,
            version_url=_version_url(ws, config, decision, outcome),
        )

    return door.observe(ws, config, observation, compose, now=now)


def _observation(
    ws: Workspace,
    config: ModelConfig,
    decision: DecisionRecord,
    outcome: Outcome | None,
    facts: CheckFacts | None,
    *,
    now: datetime,
) -> Observation:
    if facts is None:
        return observe_outcome(config, decision, outcome, now=now)
    # the people's budget is that of all their models
    recorded = recorded_looks(ws.store, decision.window.end, checking=config.model)
    levels = alert_levels(config, read_models()[0].values(), recorded)
    return observe_check(config, decision, outcome, facts, levels=levels)


def _facts(ws: Workspace, config: ModelConfig, decision: DecisionRecord) -> CheckFacts | None:
    """Return what is stored of the check that made a decision; None where no check made it."""
    version = checked_version(decision)
    if version is None:
        return None
    about = decision.model, version, decision.window
    quality = storage.read_report(ws, StoredQualityReport, *about)
    is_empty = quality is not None and quality.status == "empty"
    return CheckFacts(
        quality=quality,
        drift=storage.read_report(ws, StoredDriftReport, *about),
        performance=storage.read_report(ws, StoredPerformanceReport, *about),
        labels=storage.read_report(ws, StoredLabelsReport, *about),
        consecutive=storage.read_report(ws, StoredConsecutiveReport, *about),
        judgements=judgements_of(ws, decision),
        chance_of_no_rows=chance_of_no_rows(ws, config, version, decision.window.end) if is_empty else None,
        quarantines=_quarantines(ws, decision),
    )


def _quarantines(ws: Workspace, decision: DecisionRecord) -> tuple[Quarantine, ...]:
    """Return what was quarantined of a model up to a check, in order of time."""
    rows = ws.store.quarantines(decision.model, with_released=True)
    return tuple(
        Quarantine(row["about"], row["start"], row["end"], row["decided_until"], row["released"])
        for row in rows
        if row["decided_until"] <= decision.window.end
    )


def _version_url(ws: Workspace, config: ModelConfig, decision: DecisionRecord, outcome: Outcome | None) -> str | None:
    """Return MLflow's page of the version that a message is about: the one that is new, else that in production."""
    version = (outcome.challenger or outcome.version) if outcome else decision.version
    return None if version is None else ws.registry.reports.version_address(config.model, version)
