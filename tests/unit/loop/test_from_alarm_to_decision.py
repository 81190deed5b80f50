"""From rows to a decision: a real monitor alarms, a check judges the alarm, and the monitor starts anew."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from keel import loop
from keel.loop.alarms import AlarmsToJudge
from keel.monitoring import storage
from keel.monitoring.records import Action, StoredPerformanceReport
from keel.store.quarantines import LABELS
from keel.window import ceil_hour
from tests.support.live.models import LiveModel

if TYPE_CHECKING:
    from keel.monitoring.records import DecisionRecord
    from keel.store import Store
    from tests.support.versions.cloned import Trained


@pytest.fixture
def model(trained: Trained, store: Store) -> LiveModel:
    return LiveModel.new(trained, store, live={"context": None, "columns": ["x", "z"], "harm": False})


def judge(model: LiveModel, run_id: str) -> DecisionRecord:
    """Check as a run that an alarm starts, and record the outcome."""
    ws, config = model.ws, model.config
    usual = loop.resolve_window(config, now=model.now)
    found = loop.alarms_to_judge(ws, config, usual, cause="alarm", run_id=run_id, now=model.now)
    assert found.since_alarms
    assert found.window.end - found.window.start < timedelta(hours=36), "the window is that since the change"
    return check(model, found, run_id)


def check(model: LiveModel, found: AlarmsToJudge, run_id: str) -> DecisionRecord:
    """Check a window, quarantine what is broken, and record the outcome."""
    ws, config = model.ws, model.config
    counted = loop.count_window(ws, config, found.window, alarms=found.alarms, since_alarms=found.since_alarms)
    for step in (loop.check_data_quality, loop.check_data_drift, loop.check_performance):
        step(ws, config, counted)
    decision = loop.decide(ws, config, counted, run_id=run_id)
    outcome = None
    if decision.action is Action.QUARANTINE:
        outcome = loop.quarantine(ws, config, decision, actor="tests", run_id=run_id, now=model.now)
    loop.record(ws, config, decision, outcome, channels=())
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


HOUR = timedelta(hours=1)
DELAYED = {"name": "bought", "label_delay": "24h"}


@pytest.fixture
def labelled(trained: Trained, store: Store) -> LiveModel:
    """A model whose labels are there with the next prediction."""
    target = {"name": "bought", "label_delay": "0s"}
    return LiveModel.new(trained, store, live={"context": None, "columns": ["x"]}, target=target)


def labels_of(model: LiveModel, n: int, *, broken: bool = False, flipped: float = 0.0) -> None:
    """Let labelled predictions arrive: broken labels are all 0."""
    rows, rng = model.arrive(n), np.random.default_rng([2, n])
    true = (rng.random(n) < rows["score"].to_numpy()) ^ (rng.random(n) < flipped)
    model.label(rows, np.zeros(n) if broken else true.astype(float))


def performance_of(model: LiveModel, decision: DecisionRecord) -> StoredPerformanceReport:
    """Return the report of the performance that a decision rests on."""
    about = decision.model, decision.version, decision.window
    report = storage.read_report(model.ws, StoredPerformanceReport, *about)
    assert report is not None
    return report


@pytest.mark.parametrize("judges", ["the check that finds them", "a later check"])
def test_alarm_on_broken_labels_is_explained_and_hides_no_true_harm(labelled: LiveModel, judges: str) -> None:
    labels_of(labelled, 960)
    labels_of(labelled, 780, broken=True)
    [alarm] = labelled.catch_up().opened
    assert alarm.kind == "harm"
    if judges == "a later check":
        labels_of(labelled, 200)
        usual = loop.resolve_window(labelled.config, now=labelled.now)
        assert check(labelled, AlarmsToJudge(usual), "scheduled__1").action is Action.QUARANTINE
        assert [each.alarm_id for each in labelled.open] == [alarm.alarm_id]
        labels_of(labelled, 200)
        assert labelled.catch_up().opened == ()

    decision = judge(labelled, "asset__1")

    assert decision.alarms == (alarm.alarm_id,)
    assert decision.action is (Action.QUARANTINE if judges != "a later check" else Action.RAISE_ALERT)
    assert "What is quarantined explains the live alarm on mean loss" in decision.sentence
    report = performance_of(labelled, decision)
    assert (report.alarms, report.explained_alarms) == ((), (alarm.alarm_id,))
    labels_of(labelled, 600)
    assert labelled.catch_up().opened == ()
    labels_of(labelled, 600, flipped=0.5)
    [harm] = labelled.catch_up().opened
    further = judge(labelled, "asset__2")
    assert (further.action, further.alarms) == (Action.RETRAIN, (harm.alarm_id,))


def test_data_that_was_quarantined_before_its_labels_were_due_explains_no_harm(labelled: LiveModel) -> None:
    late = labelled.configured(live=labelled.config.live.model_dump(mode="json"), target=DELAYED)
    began = late.now + 2 * HOUR
    late.ws.store.quarantine("trained", began, began + HOUR, "broken", late.now, decided_until=began + 6 * HOUR)
    labels_of(late, 1_800, flipped=0.5)
    late.now += timedelta(hours=25)
    late.arrive(100)
    [alarm] = late.catch_up().opened
    assert alarm.since < began < alarm.opened_at
    late.ws.store.live.rang([alarm.alarm_id], late.now)
    assert judge(late, "asset__1").action is Action.RETRAIN


@pytest.mark.parametrize("broken", ["labels", "data"])
def test_what_breaks_after_an_alarm_explains_no_harm(labelled: LiveModel, broken: str) -> None:
    labels_of(labelled, 960)
    labels_of(labelled, 600, flipped=0.5)
    [alarm] = [each for each in labelled.catch_up().opened if each.kind == "harm"]
    labelled.now = ceil_hour(labelled.now) + 2 * HOUR
    if broken == "labels":
        labels_of(labelled, 780, broken=True)
    else:
        labelled.arrive(300, x=np.full(300, np.inf))
    labels_of(labelled, 200)
    labelled.catch_up()

    first = judge(labelled, "asset__1")

    assert first.action is Action.QUARANTINE, first.sentence
    assert "Live alarm on mean loss stays open" in first.sentence
    assert [each.alarm_id for each in labelled.open] == [alarm.alarm_id], "one on the broken data is explained"
    labels_of(labelled, 200)
    labelled.catch_up()
    second = judge(labelled, "asset__2")
    assert second.action is Action.RETRAIN, second.sentence
    assert alarm.alarm_id in second.alarms


def test_labels_that_were_quarantined_before_the_monitors_started_explain_no_harm(labelled: LiveModel) -> None:
    began = labelled.now + 2 * HOUR
    labels_of(labelled, 600, flipped=0.5)
    labelled.ws.store.quarantine(
        "trained", began, began + HOUR, "broken", labelled.now, decided_until=began + 6 * HOUR, about=LABELS
    )
    labels_of(labelled, 600, flipped=0.5)
    [alarm] = labelled.catch_up().opened
    assert alarm.since < began < alarm.opened_at

    decision = judge(labelled, "asset__1")

    assert (decision.action, decision.alarms) == (Action.RETRAIN, (alarm.alarm_id,))
    assert performance_of(labelled, decision).explained_alarms == ()
