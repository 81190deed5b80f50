"""From rows to a decision: a real monitor alarms, a check judges the alarm, and the monitor starts anew."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keel import loop
from keel.monitoring.records import Action
from tests.support.live.models import LiveModel

if TYPE_CHECKING:
    from keel.monitoring.records import DecisionRecord
    from keel.store import Store
    from tests.support.cloned_versions import Trained


@pytest.fixture
def model(trained: Trained, store: Store) -> LiveModel:
    return LiveModel.new(trained, store, live={"context": None, "columns": ["x", "z"], "harm": False})


def judge(model: LiveModel, run_id: str) -> DecisionRecord:
    """Check as a run that an alarm starts, and record the outcome."""
    ws, config = model.ws, model.config
    usual = loop.resolve_window(config, now=model.now)
    found = loop.alarms_to_judge(ws, config, usual, cause="alarm", run_id=run_id, now=model.now)
    assert found.window.end - found.window.start < timedelta(hours=12), "the window is that since the change"
    counted = loop.count_window(ws, config, found.window, alarms=found.alarms, since_alarms=found.since_alarms)
    for step in (loop.check_data_quality, loop.check_data_drift, loop.check_performance):
        step(ws, config, counted)
    decision = loop.decide(ws, config, counted, run_id=run_id)
    loop.record(ws, config, decision, None, channels=())
    return decision


def test_real_alarm_is_confirmed_and_its_monitor_looks_for_further_changes(model: LiveModel) -> None:
    model.arrive(1000)
    model.shifted(600, by=1.0)
    [alarm] = model.catch_up().opened

    decision = judge(model, "asset__1")

    assert decision.alarms == (alarm.alarm_id,)
    assert decision.action in (Action.RAISE_ALERT, Action.RETRAIN)
    assert "Live alarm confirmed: x has drifted since about" in decision.sentence
    assert loop.next_check(model.ws, model.config, decision.decision_id, run_id="asset__1") is None
    model.shifted(600, by=1.0)
    assert model.catch_up().opened == ()
    model.shifted(600, by=3.0)
    [further] = model.catch_up().opened
    assert further.alarm_id != alarm.alarm_id


def test_real_alarm_with_few_rows_stays_open_until_there_are_enough(model: LiveModel) -> None:
    model.arrive(1000)
    model.shifted(100, by=4.0)
    [alarm] = model.catch_up().opened

    first = judge(model, "asset__1")

    assert (first.alarms, first.open_alarms) == ((), (alarm.alarm_id,))
    assert "200 are needed" in first.sentence
    model.shifted(300, by=4.0)
    assert model.catch_up().opened == ()
    second = judge(model, "asset__2")
    assert (second.alarms, second.open_alarms) == ((alarm.alarm_id,), ())
    assert model.open == []
