"""What the reports of a window lead to, and what is recorded of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from keel import deployments
from keel.deployments.history import production_since
from keel.ledger import entries as ledger
from keel.loop.alarms import close_alarms
from keel.loop.retrained import last_retrain, retrained_until
from keel.monitoring import storage
from keel.monitoring.alarm_records import judge
from keel.monitoring.alarms import Verdict, after_retraining, with_alarms
from keel.monitoring.decision import Policy, decide_action
from keel.monitoring.records import (
    Action,
    CountedWindow,
    DecisionRecord,
    Outcome,
)
from keel.training.training import retrain_plan

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.window import Window
    from keel.workspace import Workspace


log = logging.getLogger(__name__)


def decide(ws: Workspace, config: ModelConfig, counted: CountedWindow, *, run_id: str) -> DecisionRecord:
    """Decide what the reports of a window lead to, and store the decision.

    Raises
    ------
    SchemaError
        A check has not stored its report for this window.

    """
    return storage.store_decision(ws, reach_decision(ws, config, counted), run_id=run_id)


def reach_decision(ws: Workspace, config: ModelConfig, counted: CountedWindow) -> DecisionRecord:
    """Decide what the reports of a window lead to, without storing it (see `decide`)."""
    model, version, window = counted.model, counted.version, counted.window
    reports = storage.read_check_reports(ws, counted)
    decision_id = storage.report_id("decision", model, version, window)
    judgements = judge(ws, counted, reports)
    policy = Policy(
        can_retrain=config.retrain is not None,
        cooldown=config.retrain.cooldown if config.retrain else timedelta(0),
        window_end=window.end,
        last_retrain=last_retrain(ws, model, until=window.end, other_than=decision_id),
        production_since=(
            production_since(ledger.entries(ws.store, model)) if reports.quality.status == "empty" else None
        ),
        retrained_until=retrained_until(ws, counted, judgements),
    )
    decision = decide_action(reports.quality, reports.drift, reports.performance, policy, reports.labels)
    judgements = after_retraining(judgements, decision.action)
    decision = with_alarms(decision, judgements, reports.drift, reports.performance)
    judged = [each.alarm.alarm_id for each in judgements if each.is_judged]
    # A check of the time since a change can judge what this window cannot, unless it is one that judged nothing.
    left = [
        each.alarm.alarm_id
        for each in judgements
        if each.verdict is Verdict.INSUFFICIENT
        or (each.verdict is Verdict.NOT_EXAMINED and counted.since_alarms and not judged)
    ]
    log.info("%s: %s", decision.action, decision.sentence)
    return DecisionRecord(
        decision_id=decision_id,
        model=model,
        version=version,
        window=window,
        action=decision.action,
        sentence=decision.sentence,
        about=decision.about,
        alarms=tuple(judged),
        open_alarms=tuple(left),
    )


def request_retrain(ws: Workspace, config: ModelConfig, *, window: Window, reason: str, run_id: str) -> DecisionRecord:
    """Store a person's request to retrain. What follows is the same as after a check that decided so.

    The same run makes the same decision, also when another version is in production by then. Another run makes another.
    """
    retrain_plan(config)
    decision = DecisionRecord(
        decision_id=storage.report_id("request", config.model, f"{run_id}/{reason}", window),
        model=config.model,
        version=deployments.read(ws.store, config.model).production,
        window=window,
        action=Action.RETRAIN,
        sentence=f"Requested: {reason}",
        reason=reason,
    )
    return storage.store_decision(ws, decision, run_id=run_id)


def record(
    ws: Workspace, config: ModelConfig, decision: DecisionRecord, outcome: Outcome | None, *, channels: Sequence[str]
) -> Outcome:
    """Store the outcome of a decision, and the channels by which people were notified. Close the alarms it judged."""
    found = outcome or Outcome.of(decision.action, decision, decision.sentence)
    found = found.model_copy(update={"notified": tuple(channels)})
    ws.store.decisions.set_outcome(decision.decision_id, found.to_dict())
    close_alarms(ws, config.model, decision.decision_id)
    return found
